package logstore

import "github.com/slipway-build/slipway/internal/logblock"

// found is a frame as it is stored: blocks of a log, one behind the other.
type found struct {
	sequence uint64
	offset   int64
	data     []byte           // of all blocks
	blocks   []logblock.Block // which lie in data
}

// add puts a block behind the others.
func (f *found) add(b logblock.Block) {
	from, last := len(f.data), len(f.blocks)-1
	f.data = append(f.data, b.Data...)
	if b.Packed == 0 && last >= 0 && f.blocks[last].Packed == 0 { // one block, since they stand one behind the other
		from -= len(f.blocks[last].Data)
		f.blocks[last].Data = f.data[from:]
		return
	}
	f.blocks = append(f.blocks, logblock.Block{Data: f.data[from:], Packed: b.Packed})
}

// size is how many bytes of the log it stands for.
func (f found) size() int {
	n := 0
	for _, b := range f.blocks {
		n += b.Size()
	}
	return n
}

func (f found) end() int64 { return f.offset + int64(f.size()) }

// each hands over the blocks from an offset on, and answers where the frame ends.
func (f found) each(offset int64, each func(offset int64, b logblock.Block) error) (int64, error) {
	at := f.offset
	for _, b := range f.blocks {
		skip := max(0, offset-at)
		at += int64(b.Size())
		if skip >= int64(b.Size()) {
			continue
		}
		b, err := b.From(int(skip))
		if err != nil {
			return offset, err
		}
		if err := each(at-int64(b.Size()), b); err != nil {
			return offset, err
		}
		offset = at
	}
	return offset, nil
}
