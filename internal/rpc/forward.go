package rpc

import (
	"context"
	"encoding/json"

	"google.golang.org/grpc/metadata"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// callerKey is the metadata in which a server of the farm that hands a call on to another
// says who called. It is believed from such a server alone.
const callerKey = "slipway-caller"

// caller is an Identity on the wire.
type caller struct {
	Name   string   `json:"name"`
	Role   string   `json:"role"`
	Groups []string `json:"groups,omitempty"`
}

type forwardedKey struct{}

// Forward is the context of a call to another server of the farm, on behalf of whoever
// called this one. What came with the call from outside does not go along.
func Forward(ctx context.Context) context.Context {
	who, ok := IdentityFrom(ctx)
	if !ok {
		return AsPeer(ctx)
	}
	data, err := json.Marshal(caller{who.Name, RoleName(who.Role), who.Groups})
	if err != nil {
		panic("strings cannot be encoded: " + err.Error())
	}
	return metadata.NewOutgoingContext(ctx, metadata.Pairs(callerKey, string(data)))
}

// AsPeer is the context of a call to another server of the farm on this one's own behalf.
func AsPeer(ctx context.Context) context.Context {
	return metadata.NewOutgoingContext(ctx, metadata.MD{})
}

// Forwarded reports that another server of the farm handed this call on: it must not be
// handed on again.
func Forwarded(ctx context.Context) bool {
	is, _ := ctx.Value(forwardedKey{}).(bool)
	return is
}

// forwarded is who a server of the farm says that called; by itself it is a peer.
func forwarded(ctx context.Context) (Identity, bool) {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get(callerKey)
	if len(values) == 0 {
		return Identity{Name: "coordinator", Role: pb.Role_ROLE_PEER}, true
	}
	var c caller
	if len(values) > 1 || json.Unmarshal([]byte(values[0]), &c) != nil {
		return Identity{}, false
	}
	role, err := ParseRole(c.Role)
	return Identity{Name: c.Name, Role: role, Groups: c.Groups}, err == nil
}
