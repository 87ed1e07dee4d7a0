package river

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/jackc/pgx/v5"

	"github.com/slipway-build/slipway/bench/reference"
)

// programs of Debian's postgresql-15.
const programs = "/usr/lib/postgresql/15/bin"

// settings of the server beside Debian's. Every commit is on the disk before it is answered;
// memory and write-ahead log are large enough that no checkpoint falls into a batch.
func settings() []string {
	return []string{
		"fsync=on", "synchronous_commit=on", "full_page_writes=on",
		"shared_buffers=1GB", "wal_buffers=64MB", "max_wal_size=8GB", "checkpoint_timeout=1h",
		"max_connections=100", "listen_addresses=127.0.0.1", "unix_socket_directories=",
	}
}

// postgres is a server in a folder of its own.
type postgres struct {
	server *reference.Server
	url    string
}

// startPostgres makes a cluster and starts its server: not as root, which it refuses.
func startPostgres(ctx context.Context, dir string) (*postgres, error) {
	if _, err := os.Stat(filepath.Join(programs, "postgres")); err != nil {
		return nil, fmt.Errorf("find PostgreSQL 15, Debian's package postgresql-15: %w", err)
	}
	attributes, err := owner(dir)
	if err != nil {
		return nil, err
	}
	word := rand.Text()
	if err := initialize(ctx, dir, word, attributes); err != nil {
		return nil, err
	}
	port, err := reference.Port()
	if err != nil {
		return nil, err
	}
	args := []string{"-D", filepath.Join(dir, "data"), "-p", strconv.Itoa(port)}
	for _, s := range settings() {
		args = append(args, "-c", s)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(programs, "postgres"), args...) // stop asks it to end
	cmd.Dir, cmd.SysProcAttr = dir, attributes
	p := &postgres{url: (&url.URL{
		Scheme: "postgres", User: url.UserPassword("postgres", word), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: "postgres",
	}).String()}
	if p.server, err = reference.Start(cmd, dir); err != nil {
		return nil, err
	}
	err = p.server.Await(ctx, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, p.url)
		if err != nil {
			return fmt.Errorf("connect to PostgreSQL: %w", err)
		}
		return conn.Close(ctx)
	})
	if err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// stop ends every session, then the server.
func (p *postgres) stop() { p.server.Stop(syscall.SIGINT) }

func initialize(ctx context.Context, dir, word string, as *syscall.SysProcAttr) error {
	file := filepath.Join(dir, "word")
	if err := os.WriteFile(file, []byte(word), 0o600); err != nil {
		return fmt.Errorf("make a database: %w", err)
	}
	if as.Credential != nil {
		if err := os.Chown(file, int(as.Credential.Uid), int(as.Credential.Gid)); err != nil {
			return fmt.Errorf("make a database: %w", err)
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "initdb"), "-D", filepath.Join(dir, "data"), "-U", "postgres", "-A", "scram-sha-256", "--pwfile", file, "-E", "UTF8", "--locale=C.UTF-8")
	cmd.Dir, cmd.SysProcAttr = dir, as
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make a database in %s, which the user postgres must be able to reach: %w: %s", dir, err, out)
	}
	if err := os.Remove(file); err != nil {
		return fmt.Errorf("make a database: %w", err)
	}
	return nil
}

// owner gives a folder to the user postgres, if this is root, and says how to become it.
func owner(dir string) (*syscall.SysProcAttr, error) {
	if os.Geteuid() != 0 {
		return &syscall.SysProcAttr{}, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("user postgres: %w", err)
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		return nil, fmt.Errorf("give a folder to PostgreSQL: %w", err)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}
