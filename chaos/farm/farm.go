package farm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/chaos/node"
	"github.com/slipway-build/slipway/chaos/witness"
	"github.com/slipway-build/slipway/internal/rpc"
)

// Config of a farm.
type Config struct {
	Dir          string // of everything that it keeps; made
	Program      string // slipway-coordinator
	Coordinators int
	NATS         int // servers: 1 or 3
	Workers      int
	Partitions   int
	Projects     int           // with one there are deployments too
	TTL          time.Duration // of leases
	OwnerTTL     time.Duration // of the ownership of partitions; 0: TTL
	LogsAfter    time.Duration // logs are archived so long after the end of their run; 0: as by default
	Env          []string      // of coordinators
	Worker       node.Worker   // as every worker is; names and addresses are filled in
	Blind        int           // how many of the workers are
	Gullible     bool          // the witness compares no fences
	Kept         bool          // coordinators that end by themselves are started again, as a cluster does
	Proxied      bool          // NATS and coordinators are reached through Net
	Deployer     string        // slipway-deployer; each project has a Lane. Empty: workers deploy
	Cluster      *Cluster      // that deployers roll out on
	Doubles      bool          // every gate to it does
}

// Farm is coordinators, NATS servers and workers, each a process, with a witness in this one.
type Farm struct {
	Config

	Book         *witness.Book
	Coordinators []*Proc
	NATS         []*Proc
	Workers      []*Proc
	Token        string // of who administers
	Net          *Net   // nil unless it is proxied
	Lanes        []*Lane

	worker   string // token
	ports    ports
	door     *door
	listener net.Listener
	asking   sync.Mutex
	asked    jetstream.JetStream
}

// ports that its processes listen at, over all their lives.
type ports struct{ api, http, nats, cluster []int }

// New starts one. It waits until NATS is ready; whoever submits waits for the rest.
func New(ctx context.Context, cfg Config) (*Farm, error) {
	f := &Farm{Config: cfg, Book: witness.NewBook(), Token: rpc.NewToken(), worker: rpc.NewToken()}
	f.Book.Gullible = cfg.Gullible
	if err := f.start(ctx); err != nil {
		f.Stop()
		return nil, err
	}
	return f, nil
}

func (f *Farm) start(ctx context.Context) (err error) {
	if f.Dir, err = filepath.Abs(f.Dir); err != nil {
		return fmt.Errorf("folder of the farm: %w", err)
	}
	if err := os.RemoveAll(f.Dir); err != nil {
		return fmt.Errorf("empty the folder of the farm: %w", err)
	}
	for i := range f.Projects {
		made := repository
		if f.Deployer != "" {
			made = laneRepository
		}
		if err := made(f.Repository(i), Project(i), f.Projects > 1); err != nil {
			return err
		}
	}
	if f.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	go f.Book.Serve(f.listener) // until Stop
	free, err := freePorts(2*f.Config.Coordinators + 2*f.Config.NATS)
	if err != nil {
		return err
	}
	n, c := f.Config.NATS, f.Config.Coordinators
	f.ports = ports{nats: free[:n], cluster: free[n : 2*n], api: free[2*n : 2*n+c], http: free[2*n+c:]}
	if f.Proxied {
		if f.Net, err = newNet(f.ports.nats, f.ports.api); err != nil {
			return err
		}
	}
	if err := f.startNATS(ctx); err != nil {
		return err
	}
	if err := f.startCoordinators(); err != nil {
		return err
	}
	if f.Deployer != "" {
		if err := f.lanes(); err != nil {
			return err
		}
	}
	return errors.Join(f.startWorkers(), ctx.Err())
}

// Repository of a project.
func (f *Farm) Repository(project int) string {
	return filepath.Join(f.Dir, "repositories", Project(project))
}

func freePorts(n int) ([]int, error) {
	var out []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()                                 // after all were found, so that none is found twice
		out = append(out, l.Addr().(*net.TCPAddr).Port) //nolint:forcetypeassert // it listens on TCP
	}
	return out, nil
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func (f *Farm) startNATS(ctx context.Context) error {
	for i, port := range f.ports.nats {
		c := node.NATS{Name: fmt.Sprintf("n%d", i), Store: f.Store(i), Port: port}
		if len(f.ports.nats) > 1 {
			c.Cluster, c.Routes = f.ports.cluster[i], f.ports.cluster
		}
		p, err := part(f.Dir, fmt.Sprintf("nats-%d", i), "nats", c)
		if err != nil {
			return err
		}
		f.NATS = append(f.NATS, p)
	}
	if err := each(f.NATS, func(p *Proc) error { return p.Start() }); err != nil {
		return err
	}
	return f.led(ctx)
}

// led waits until the servers have a leader: a coordinator that is started before stops again.
func (f *Farm) led(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		js, err := f.jetStream()
		if err == nil {
			one, cancel := context.WithTimeout(ctx, time.Second)
			_, err = js.AccountInfo(one)
			cancel()
			if err == nil {
				return nil
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("NATS has no leader: %w", err)
		}
	}
}

// Store is the folder of a NATS server.
func (f *Farm) Store(i int) string { return filepath.Join(f.Dir, fmt.Sprintf("nats-%d", i)) }

// NATSURL reaches every server, as who sees it: a coordinator by its number, or -1 for all others.
func (f *Farm) NATSURL(who int) string {
	var out []string
	for i, port := range f.ports.nats {
		address := local(port)
		if f.Net != nil && who >= 0 {
			address = f.Net.natsFor(who, i)
		}
		out = append(out, "nats://"+address)
	}
	return strings.Join(out, ",")
}

func (f *Farm) startCoordinators() error {
	folder := filepath.Join(f.Dir, "targets")
	for i := range f.Projects {
		text := targets(i, f.Projects == 1)
		if f.Deployer != "" {
			text = laneTargets(i)
		}
		if err := write(filepath.Join(folder, Project(i)+".yaml"), text); err != nil {
			return err
		}
	}
	logs := ""
	if f.LogsAfter > 0 {
		logs = fmt.Sprintf("logs: { archive_after: %s }", f.LogsAfter)
	}
	var front []string
	for i := range f.Config.Coordinators {
		name := fmt.Sprintf("coordinator-%d", i)
		file := filepath.Join(f.Dir, name+".yaml")
		replicas := 1
		if f.Config.NATS >= 3 {
			replicas = 3
		}
		text := fmt.Sprintf(`name: %s
listen: %s
http: %s
state: %s
nats: { url: %q }
replicas: %d
partitions: %d
%s
%s
registry: registry.invalid/chaos
local_repositories: [%s]
lease_ttl: %s
peers: { ttl: %s }
journal: { snapshot_records: 1000000 } # so that the judge can read all of it
tokens:
  - { name: admin, hash: %q, role: administer }
  - { name: worker, hash: %q, role: worker }
`, name, local(f.ports.api[i]), local(f.ports.http[i]), filepath.Join(f.Dir, name), f.NATSURL(i), replicas, f.Partitions, "targets: "+folder, logs,
			f.Dir, f.TTL, cmp.Or(f.OwnerTTL, f.TTL), rpc.HashToken(f.Token), rpc.HashToken(f.worker))
		if err := write(file, text); err != nil {
			return err
		}
		f.Coordinators = append(f.Coordinators, program(f.Dir, name, f.Env, f.Program, "--config", file))
		front = append(front, f.Front(i))
	}
	var err error
	if f.door, err = openDoor(front); err != nil {
		return fmt.Errorf("door of the farm: %w", err)
	}
	if f.Kept {
		for _, p := range f.Coordinators {
			go p.keep() // until it is killed for good
		}
	}
	return each(f.Coordinators, func(p *Proc) error { return p.Start() })
}

// Front is where a coordinator is reached, through its proxy if it has one.
func (f *Farm) Front(i int) string {
	if f.Net != nil {
		return f.Net.front(i)
	}
	return local(f.ports.api[i])
}

func (f *Farm) startWorkers() error {
	for i := range f.Config.Workers {
		w := f.Worker
		w.Name, w.Coordinator, w.Token, w.NATS, w.Witness = fmt.Sprintf("worker-%d", i), f.door.address(), f.worker, f.NATSURL(-1), f.listener.Addr().String()
		w.Blind = i < f.Blind
		p, err := part(f.Dir, w.Name, "worker", w)
		if err != nil {
			return err
		}
		f.Workers = append(f.Workers, p)
	}
	return each(f.Workers, func(p *Proc) error { return p.Start() })
}

// each does something with all processes at once.
func each(procs []*Proc, do func(*Proc) error) error {
	errs := make([]error, len(procs))
	var wg sync.WaitGroup
	for i, p := range procs {
		wg.Go(func() { errs[i] = do(p) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// StopPrograms ends workers, deployers and coordinators, and leaves NATS.
func (f *Farm) StopPrograms() {
	kill := func(p *Proc) error { p.Kill(); return nil }
	_ = each(f.Workers, kill)
	f.stopLanes()
	_ = each(f.Coordinators, kill)
}

// Stop ends every process, those that need others first.
func (f *Farm) Stop() {
	f.StopPrograms()
	_ = each(f.NATS, func(p *Proc) error { p.Kill(); return nil })
	if f.door != nil {
		f.door.close()
	}
	if f.Net != nil {
		f.Net.close()
	}
	if f.listener != nil {
		_ = f.listener.Close()
	}
	if f.asked != nil {
		f.asked.Conn().Close()
	}
}
