package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// How many there are of each.
const (
	coordinators = 3
	servers      = 3 // of NATS; what is stored has as many replicas
	workers      = 4
)

// layout says where everything listens, all on loopback. It is kept in the state folder,
// where the engines read it.
type layout struct {
	GRPC     []string `json:"grpc"` // of the coordinators
	HTTP     []string `json:"http"`
	NATS     []string `json:"nats"`
	Routes   []string `json:"routes"` // of the NATS servers among themselves
	Redis    string   `json:"redis"`
	Registry string   `json:"registry"`
}

const layoutFile = "layout.json"

// newLayout takes ports from a first one on, or those that the system gives. It fails where
// something listens already.
func newLayout(first int) (layout, error) {
	var listeners []net.Listener
	defer func() { // only now, so that no port is given twice
		for _, l := range listeners {
			_ = l.Close()
		}
	}()
	var err error
	next := func() string {
		l, lerr := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first))
		if lerr != nil {
			err = fmt.Errorf("%w (is another farm-local running?)", lerr)
			return ""
		}
		if first != 0 {
			first++
		}
		listeners = append(listeners, l)
		return l.Addr().String()
	}
	var l layout
	for range coordinators {
		l.GRPC, l.HTTP = append(l.GRPC, next()), append(l.HTTP, next())
	}
	for range servers {
		l.NATS, l.Routes = append(l.NATS, next()), append(l.Routes, next())
	}
	l.Redis, l.Registry = next(), next()
	return l, err
}

// coordinator is the address of all coordinators.
func (l layout) coordinator() string { return strings.Join(l.GRPC, ",") }

// nats is the address of all servers.
func (l layout) nats() string { return "nats://" + strings.Join(l.NATS, ",nats://") }

func (l layout) write(state string) error {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("encode layout: %w", err)
	}
	if err := os.WriteFile(filepath.Join(state, layoutFile), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	return nil
}

func readLayout(state string) (l layout, err error) {
	data, err := os.ReadFile(filepath.Join(state, layoutFile))
	if err != nil {
		return l, fmt.Errorf("read layout: %w", err)
	}
	if err := json.Unmarshal(data, &l); err != nil {
		return l, fmt.Errorf("read layout: %w", err)
	}
	return l, nil
}
