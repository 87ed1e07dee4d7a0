package farm

import (
	"context"
	"fmt"
	"strings"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// Net is the network of a farm, through proxies that can be told to fail: each coordinator's
// way to each NATS server, and everybody's way to each coordinator.
type Net struct {
	nats   [][]*toxiproxy.Proxy // by coordinator and server
	fronts []*toxiproxy.Proxy   // by coordinator
}

// Side of a coordinator that is cut off.
type Side int

// The sides.
const (
	ToNATS  Side = iota // it and the NATS servers
	ToFront             // it and its workers and clients
)

func newNet(nats, api []int) (*Net, error) {
	s := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	n := &Net{}
	proxy := func(name string, port int) (*toxiproxy.Proxy, error) {
		p := toxiproxy.NewProxy(s, name, "127.0.0.1:0", local(port))
		if err := p.Start(); err != nil {
			return nil, fmt.Errorf("proxy %s: %w", name, err)
		}
		return p, nil
	}
	for i := range api {
		var ways []*toxiproxy.Proxy
		for j, port := range nats {
			p, err := proxy(fmt.Sprintf("nats-%d-%d", i, j), port)
			if err != nil {
				return nil, err
			}
			ways = append(ways, p)
		}
		p, err := proxy(fmt.Sprintf("front-%d", i), api[i])
		if err != nil {
			return nil, err
		}
		n.nats, n.fronts = append(n.nats, ways), append(n.fronts, p)
	}
	return n, nil
}

func (n *Net) natsFor(coordinator, server int) string { return n.nats[coordinator][server].Listen }
func (n *Net) front(coordinator int) string           { return n.fronts[coordinator].Listen }

func (n *Net) ways(coordinator int, s Side) []*toxiproxy.Proxy {
	if s == ToFront {
		return n.fronts[coordinator : coordinator+1]
	}
	return n.nats[coordinator]
}

// Swallow lets nothing through in a direction ("upstream": away from who dials) while
// connections stay open, as a network does that is cut.
func (n *Net) Swallow(coordinator int, s Side, direction string) error {
	return n.toxic(coordinator, s, fmt.Sprintf(`{"type":"timeout","stream":%q,"attributes":{"timeout":0}}`, direction))
}

// Slow lets a number of KB a second through, in both directions.
func (n *Net) Slow(coordinator int, s Side, rate int) error {
	for _, d := range []string{"upstream", "downstream"} {
		if err := n.toxic(coordinator, s, fmt.Sprintf(`{"type":"bandwidth","stream":%q,"attributes":{"rate":%d}}`, d, rate)); err != nil {
			return err
		}
	}
	return nil
}

// Reset breaks every connection at the next byte, until Heal.
func (n *Net) Reset(coordinator int, s Side) error {
	return n.toxic(coordinator, s, `{"type":"reset_peer","stream":"upstream","attributes":{"timeout":0}}`)
}

func (n *Net) toxic(coordinator int, s Side, toxic string) error {
	for _, p := range n.ways(coordinator, s) {
		if _, err := p.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return nil
}

// Heal ends every fault at a side of a coordinator. Connections from which something was
// taken are closed by it.
func (n *Net) Heal(coordinator int, s Side) {
	for _, p := range n.ways(coordinator, s) {
		p.Toxics.ResetToxics(context.Background())
	}
}

func (n *Net) close() {
	for i := range n.fronts {
		for _, p := range append(n.ways(i, ToNATS), n.fronts[i]) {
			p.Stop()
		}
	}
}
