package logstore

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/slipway-build/slipway/internal/logblock"
)

// NATS refuses a message with more than 64 KiB of headers, however often it is sent: what many
// logs, and logs of many pieces, have to say is several messages.
func TestHeadersOfWhatIsWrittenAheadAreBounded(t *testing.T) {
	for name, logs := range map[string]int{"many logs": 2000, "logs of many pieces": 20} {
		t.Run(name, func(t *testing.T) {
			s := &Store{tails: map[Key]*tail{}, ahead: ahead{dirty: map[Key]*writer{}, wake: make(chan struct{}, 1)}}
			pieces := 6000 / logs
			for i := range logs {
				w := &writer{}
				for range pieces {
					w.gather(logblock.Block{Data: []byte("12345678"), Packed: 100_000})
				}
				s.ahead.dirty[Key{Token: fmt.Sprintf("00012_shop-production-%08d_test-of-a-service", i), Epoch: 1 << 40, Counter: 1 << 50}] = w
			}
			got := 0
			for more := true; more; {
				var some []stretch
				if some, more = s.come(); len(some) == 0 {
					t.Fatal("nothing comes, and there is more")
				}
				var size counter
				m := message("logsahead.x", some)
				if err := http.Header(m.Header).Write(&size); err != nil || size > 64<<10-100 {
					t.Fatalf("%d bytes of headers, %v", size, err)
				}
				for _, x := range some {
					got += len(x.blocks)
				}
				s.promised(1, some)
			}
			if got != logs*pieces {
				t.Errorf("%d pieces were written ahead of %d", got, logs*pieces)
			}
		})
	}
}

type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
