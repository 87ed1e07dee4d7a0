package witness

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Serve answers workers until the listener is closed.
func (b *Book) Serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go b.answer(c) // ends with the worker's process
	}
}

func (b *Book) answer(c net.Conn) {
	defer c.Close()
	in, out := json.NewDecoder(bufio.NewReader(c)), json.NewEncoder(c)
	for {
		var e Entry
		if in.Decode(&e) != nil {
			return
		}
		if out.Encode(b.take(e)) != nil {
			return
		}
	}
}

// Client is a worker's way to the witness.
type Client struct {
	worker string

	mu  sync.Mutex
	in  *json.Decoder
	out *json.Encoder
}

// Dial connects.
func Dial(address, worker string) (*Client, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	return &Client{worker: worker, in: json.NewDecoder(bufio.NewReader(c)), out: json.NewEncoder(c)}, nil
}

// Begin says that an attempt begins. False: one with a newer fence has.
func (c *Client) Begin(a Attempt) bool { return c.ask(Entry{Kind: Begin, Attempt: a}) }

// Effect changes the object. False: it was refused.
func (c *Client) Effect(a Attempt) bool { return c.ask(Entry{Kind: Effect, Attempt: a}) }

// Left says that an attempt was told to stop.
func (c *Client) Left(a Attempt) { c.ask(Entry{Kind: Left, Attempt: a}) }

func (c *Client) ask(e Entry) bool {
	e.Worker, e.Process, e.Call = c.worker, os.Getpid(), Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	var done bool
	if err := errors.Join(c.out.Encode(e), c.in.Decode(&done)); err != nil {
		return false // the experiment is over
	}
	return done
}

// Now is the machine's monotonic clock, which all processes share.
func Now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic("no monotonic clock: " + err.Error())
	}
	return t.Nano()
}

// Answered says how the coordinator answered the end of an attempt.
func (c *Client) Answered(token string, f Fence, aborted bool) {
	e := Entry{Kind: Taken, Token: token, Attempt: Attempt{Fence: f}}
	if aborted {
		e.Kind = Aborted
	}
	c.ask(e)
}
