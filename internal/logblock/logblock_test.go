package logblock_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/internal/logblock"
)

// text has n bytes, of which some compress well.
func text(n int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	var b []byte
	for len(b) < n {
		b = fmt.Appendf(b, "step %d of %d took %dms\n", r.IntN(50), r.IntN(50), r.IntN(9000))
	}
	return b[:n]
}

// noise does not compress.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(2, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestABlockIsWhatWasPacked(t *testing.T) {
	var p logblock.Packer
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.SampledFrom([]int{0, 1, 1023, 1024, 5000, logblock.Max - 1, logblock.Max, logblock.Max + 1}).Draw(rt, "size")
		data := text(n)
		if rapid.Bool().Draw(rt, "noise") {
			data = noise(n)
		}
		b := p.Pack(data)
		_ = p.Pack(noise(70_000)) // which takes nothing back
		if b.Size() != n || len(b.Data) > n {
			rt.Fatalf("%d bytes are a block of %d, in %d", n, b.Size(), len(b.Data))
		}
		b = logblock.Received(b.Data, int64(b.Packed))
		got, err := b.Bytes()
		if err != nil || !bytes.Equal(got, data) {
			rt.Fatalf("%d bytes came back as %d: %v", n, len(got), err)
		}
		skip := rapid.IntRange(0, n).Draw(rt, "skip")
		rest, err := b.From(skip)
		if err != nil || rest.Size() != n-skip {
			rt.Fatalf("without %d bytes it has %d: %v", skip, rest.Size(), err)
		}
		if got, err = rest.Bytes(); err != nil || !bytes.Equal(got, data[skip:]) {
			rt.Fatalf("without %d bytes it is something else: %v", skip, err)
		}
	})
}

func TestBlocksThatStandTogetherAreFound(t *testing.T) {
	var p logblock.Packer
	rapid.Check(t, func(rt *rapid.T) {
		var blocks []logblock.Block
		var all []byte
		for range rapid.IntRange(1, 5).Draw(rt, "blocks") {
			b := p.Pack(text(rapid.SampledFrom([]int{0, 5, 3000, 50_000}).Draw(rt, "size")))
			blocks, all = append(blocks, b), append(all, b.Data...)
		}
		got, err := logblock.Split(all, logblock.Sizes(blocks))
		if err != nil {
			rt.Fatal(err)
		}
		var want, have []byte
		for _, b := range blocks {
			data, _ := b.Bytes()
			want = append(want, data...)
		}
		for _, b := range got {
			data, err := b.Bytes()
			if err != nil {
				rt.Fatal(err)
			}
			have = append(have, data...)
		}
		if !bytes.Equal(have, want) {
			rt.Fatalf("%d bytes became %d", len(want), len(have))
		}
	})
	for _, sizes := range []string{"9", "11", "x", "5/", "5/x 5", "5/-1 5", "-1 11", "5/0 5", "5//5 5", "99999999999999999999"} {
		if b, err := logblock.Split(make([]byte, 10), sizes); !errors.Is(err, logblock.ErrUnreadable) {
			t.Errorf("%q is %d blocks, %v", sizes, len(b), err)
		}
	}
}

func TestWhatCompressesIsPacked(t *testing.T) {
	var p logblock.Packer
	if b := p.Pack(text(100_000)); b.Packed != 100_000 || len(b.Data) > 40_000 {
		t.Errorf("text is %d bytes, packed from %d", len(b.Data), b.Packed)
	}
	if b := p.Pack(noise(100_000)); b.Packed != 0 {
		t.Errorf("noise is packed, into %d bytes", len(b.Data))
	}
}

// TestBadBlocks are an error, and take no memory that they only say they need.
func TestBadBlocks(t *testing.T) {
	var p logblock.Packer
	good := p.Pack(text(10_000))
	cut := logblock.Block{Data: good.Data[:len(good.Data)/2], Packed: good.Packed}
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0}
	for name, b := range map[string]logblock.Block{
		"cut": cut, "another size": {Data: good.Data, Packed: 9_999}, "negative": logblock.Received(good.Data, -5), "empty": logblock.Received(nil, 1),
		"huge": logblock.Received(huge, 1<<32-1), "beyond what may be": logblock.Received(huge, 1<<40), "noise": {Data: noise(500), Packed: 500},
	} {
		if data, err := b.Bytes(); !errors.Is(err, logblock.ErrUnreadable) {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
		}
	}
}

// A packed block that claims few bytes and is very large would be refused by what stores it, for ever.
func TestBlocksThatAreLargerThanWhatTheyHold(t *testing.T) {
	var p logblock.Packer
	good := p.Pack(text(10_000))
	large := logblock.Block{Data: append(bytes.Clone(good.Data), make([]byte, 1<<20)...), Packed: good.Packed}
	if err := large.Check(); !errors.Is(err, logblock.ErrUnreadable) {
		t.Errorf("a block of %d bytes that holds %d: %v", len(large.Data), large.Packed, err)
	}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
}
