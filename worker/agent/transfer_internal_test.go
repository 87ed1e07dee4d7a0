package agent

import (
	"errors"
	"io"
	"strings"
	"testing"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func part(entry uint32, size int64, data string) *pb.SourcePart {
	return &pb.SourcePart{Entry: entry, Size: size, Data: []byte(data)}
}

// TestContent: contents come in parts, over messages of any size, and what does not fit
// together is an error.
func TestContent(t *testing.T) {
	for name, c := range map[string]struct {
		frames [][]*pb.SourcePart
		fails  bool
	}{
		"one message":     {frames: [][]*pb.SourcePart{{part(1, 3, "abc"), part(4, 0, ""), part(5, 2, "de")}}},
		"many messages":   {frames: [][]*pb.SourcePart{{part(1, 3, "a")}, {part(1, 0, "b"), part(1, 0, "c"), part(4, 0, "")}, {}, {part(5, 2, "d")}, {part(5, 0, "e")}}},
		"ends early":      {frames: [][]*pb.SourcePart{{part(1, 3, "abc"), part(4, 0, ""), part(5, 2, "d")}}, fails: true},
		"ends before":     {frames: [][]*pb.SourcePart{{part(1, 3, "abc")}}, fails: true},
		"another":         {frames: [][]*pb.SourcePart{{part(2, 3, "abc"), part(4, 0, ""), part(5, 2, "de")}}, fails: true},
		"too much":        {frames: [][]*pb.SourcePart{{part(1, 3, "abcd"), part(4, 0, ""), part(5, 2, "de")}}, fails: true},
		"another within":  {frames: [][]*pb.SourcePart{{part(1, 3, "ab"), part(4, 0, "c"), part(4, 0, ""), part(5, 2, "de")}}, fails: true},
		"nothing within":  {frames: [][]*pb.SourcePart{{part(1, 3, "ab"), part(1, 0, ""), part(1, 0, "c"), part(4, 0, ""), part(5, 2, "de")}}, fails: true},
		"one is left out": {frames: [][]*pb.SourcePart{{part(1, 3, "abc"), part(5, 2, "de")}}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			in := &content{recv: func() (*pb.ReadSourceResponse, error) {
				if len(c.frames) == 0 {
					return nil, io.EOF
				}
				m := &pb.ReadSourceResponse{Parts: c.frames[0]}
				c.frames = c.frames[1:]
				return m, nil
			}}
			var got []string
			err := func() error {
				for _, entry := range []uint32{1, 4, 5} {
					if err := in.open(entry); err != nil {
						return err
					}
					data, err := io.ReadAll(in)
					if err != nil {
						return err
					}
					got = append(got, string(data))
				}
				return nil
			}()
			if c.fails != (err != nil) || errors.Is(err, io.EOF) {
				t.Errorf("error %v", err)
			}
			if s := strings.Join(got, ","); err == nil && s != "abc,,de" {
				t.Errorf("got %q", s)
			}
		})
	}
}
