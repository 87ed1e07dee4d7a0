package cluster

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// maxProofs bounds a Memory, about 200 bytes each.
	maxProofs = 200_000
	// proofAge is how long a proof is believed: what the API server and its webhooks add to objects may change.
	proofAge = time.Hour
)

// Proof is that an object was as a release wants it: what the API server made of the wish was what stood there already.
type Proof struct {
	Wanted  [32]byte // digest of what the release wants of the object
	Meta    [32]byte // digest of the live object's metadata, as far as it tells of a change
	Content [32]byte // digest of the live object without its status
	Fence   string   // of the release that wrote it
	at      time.Time
}

// Memory is what rollouts know of the objects of a cluster from earlier ones. To lose it costs requests, and nothing else. Its
// zero value is ready.
type Memory struct {
	mu     sync.Mutex
	proofs map[types.UID]Proof
}

// Proof of an object, if there is one that is not too old.
func (m *Memory) Proof(object types.UID) (Proof, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.proofs[object]
	return p, ok && time.Since(p.at) < proofAge
}

// Forget an object: it is about to be deleted.
func (m *Memory) Forget(object types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.proofs, object)
}

// Prove keeps a proof in place of an earlier one.
func (m *Memory) Prove(object types.UID, p Proof) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proofs == nil || len(m.proofs) >= maxProofs {
		m.proofs = map[types.UID]Proof{}
	}
	p.at = time.Now()
	m.proofs[object] = p
}
