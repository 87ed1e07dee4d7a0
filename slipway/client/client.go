// Package client connects the CLI to a coordinator and turns what goes wrong into
// sentences and exit codes.
//
// It knows where the address and the token come from; what is asked of the
// coordinator is the commands' business.
package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-build/slipway/internal/clientfile"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Config says which farm is used. What the environment says wins over the file.
type Config struct {
	State   string // folder with client.yaml
	Address string // SLIPWAY_ADDR
	Token   string // SLIPWAY_TOKEN
	CAFile  string // SLIPWAY_CA_FILE
}

// ErrNoFarm: nothing says where a coordinator is.
var ErrNoFarm = errors.New("no farm: start one on this machine with `slipway up`, or set SLIPWAY_ADDR and SLIPWAY_TOKEN to use another")

// Client is a connection to a coordinator.
type Client struct {
	Runs    pb.RunServiceClient
	Logs    pb.LogServiceClient
	Farm    pb.FarmServiceClient
	Tests   pb.TestServiceClient
	Rollout pb.RolloutServiceClient
	Address string
	conn    *grpc.ClientConn
}

// New prepares a connection; it is made by the first call.
func New(ctx context.Context, c Config) (*Client, error) {
	file := clientfile.File{Address: c.Address, Token: c.Token, CAFile: c.CAFile}
	if c.Address == "" || c.Token == "" {
		read, err := clientfile.Read(c.State)
		if errors.Is(err, clientfile.ErrNone) {
			if c.Address != "" {
				return nil, errors.New("SLIPWAY_ADDR is set and SLIPWAY_TOKEN is not; set both")
			}
			return nil, fmt.Errorf("%w (state folder %s)", ErrNoFarm, c.State)
		}
		if err != nil {
			return nil, err
		}
		if c.Address != "" && c.Address != read.Address {
			// A token is good for the farm that it was made by and is shown to no other.
			return nil, fmt.Errorf("SLIPWAY_ADDR names %s, and %s has the token of %s; set SLIPWAY_TOKEN as well", c.Address, c.State, read.Address)
		}
		file = read
		if c.Token != "" {
			file.Token = c.Token
		}
		if c.CAFile != "" {
			file.CAFile = c.CAFile
		}
	}
	o := rpc.DialOptions{Token: file.Token}
	if file.CAFile != "" {
		ca, err := os.ReadFile(file.CAFile)
		if err != nil {
			return nil, fmt.Errorf("certificate of the coordinator: %w", err)
		}
		o.CA = ca
	}
	conn, err := rpc.Dial(ctx, file.Address, o)
	if err != nil {
		return nil, err
	}
	return &Client{Runs: pb.NewRunServiceClient(conn), Logs: pb.NewLogServiceClient(conn), Farm: pb.NewFarmServiceClient(conn), Tests: pb.NewTestServiceClient(conn), Rollout: pb.NewRolloutServiceClient(conn), Address: file.Address, conn: conn}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Several says that there are other coordinators to ask when one does not answer.
func (c *Client) Several() bool { return strings.Contains(c.Address, ",") }

// Unreachable says that no answer came from the coordinator itself.
func Unreachable(err error) bool {
	s, ok := status.FromError(err)
	if !ok || s.Code() != codes.Unavailable {
		return false
	}
	for _, mark := range []string{"connection error:", "error reading from server", "transport", "connection reset", "EOF", "name resolver", "keepalive ping"} {
		if strings.Contains(s.Message(), mark) {
			return true
		}
	}
	return false
}

// Passing says that following something may go on soon.
func Passing(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.ResourceExhausted, codes.Aborted:
		return true
	default:
		return false
	}
}

// Interrupted says that a call was cut off on its way: it may have been heard.
func Interrupted(err error) bool {
	return Unreachable(err) && !strings.Contains(status.Convert(err).Message(), "connection refused")
}

// Problems are the mistakes in files that an answer carries.
func Problems(err error) []*pb.Problem {
	s, _ := status.FromError(err)
	for _, d := range s.Details() {
		if p, ok := d.(*pb.Problems); ok {
			return p.GetProblems()
		}
	}
	return nil
}

// Explain is the sentence for an error of a call.
func (c *Client) Explain(err error) string {
	s, ok := status.FromError(err)
	if !ok {
		return err.Error()
	}
	if !Unreachable(err) {
		return s.Message()
	}
	why := "it cannot be reached (" + shorten(s.Message()) + ")"
	switch m := s.Message(); {
	case strings.Contains(m, "connection refused"):
		why = "nothing listens there"
	case strings.Contains(m, "error reading from server"), strings.Contains(m, "closing transport"), strings.Contains(m, "connection reset"):
		why = "it went away"
	case strings.Contains(m, "certificate"), strings.Contains(m, "tls:"):
		why = "its TLS certificate is not accepted (" + shorten(m) + ")"
	case strings.Contains(m, "no such host"):
		why = "its host name is unknown"
	case strings.Contains(m, "timeout"), strings.Contains(m, "deadline"):
		why = "it does not answer"
	}
	if c.Several() {
		return fmt.Sprintf("a coordinator of %s: %s; another is asked", strings.ReplaceAll(c.Address, ",", ", "), why)
	}
	return fmt.Sprintf("coordinator %s: %s; is the farm running? `slipway up` starts one on this machine", c.Address, why)
}

// shorten keeps the innermost part of gRPC's nested sentences.
func shorten(m string) string {
	if i := strings.LastIndex(m, "desc = "); i >= 0 {
		m = m[i+len("desc = "):]
	}
	return strings.Trim(m, `" `)
}

// Backoff waits between tries of a broken stream: longer each time, and never beyond
// a total. Reset it after a success.
type Backoff struct {
	Limit time.Duration // in all, since the last success
	since time.Time
	next  time.Duration
}

// Wait returns false when the limit is reached or ctx is done.
func (b *Backoff) Wait(ctx context.Context) bool {
	if b.next == 0 {
		b.since, b.next = time.Now(), 100*time.Millisecond
	}
	if time.Since(b.since) > b.Limit {
		return false
	}
	t := time.NewTimer(b.next)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	}
	b.next = min(2*b.next, 2*time.Second)
	return true
}

// Reset forgets earlier failures.
func (b *Backoff) Reset() { b.next = 0 }
