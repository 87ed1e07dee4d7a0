package queue

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Address of a NATS server and how to log in.
type Address struct {
	URL          string `yaml:"url,required"`
	User         string `yaml:"user"`
	PasswordFile string `yaml:"password_file"`
	// CredentialsFile is a NATS .creds file, instead of a user.
	CredentialsFile string `yaml:"credentials_file"`
	// InboxPrefix is where this user may receive answers; empty: anywhere.
	InboxPrefix string `yaml:"inbox_prefix"`
}

// Answer is how long a request of JetStream waits for its answer, where the caller does not say. A
// server that dies takes the answers with it that it owes, and whoever asks again sooner goes
// on sooner: with the client's own 5 s one lost answer was most of a takeover.
const Answer = 2 * time.Second

// Connect opens a connection that reconnects for ever. The first connection waits until
// the context ends. Close the connection with the function that it answers.
func Connect(ctx context.Context, a Address, name string, log *slog.Logger) (jetstream.JetStream, func(), error) {
	opts := []nats.Option{
		nats.Name(name), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("connection to NATS lost, connecting again", "err", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("connected to NATS again") }),
	}
	if a.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(a.InboxPrefix))
	}
	switch {
	case a.CredentialsFile != "":
		opts = append(opts, nats.UserCredentials(a.CredentialsFile))
	case a.PasswordFile != "":
		secret, err := os.ReadFile(a.PasswordFile)
		if err != nil {
			return nil, nil, fmt.Errorf("read the password for NATS: %w", err)
		}
		opts = append(opts, nats.UserInfo(a.User, strings.TrimSpace(string(secret))))
	}
	for {
		nc, err := nats.Connect(a.URL, opts...)
		if err == nil {
			js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(Answer))
			if err != nil {
				nc.Close()
				return nil, nil, fmt.Errorf("open JetStream: %w", err)
			}
			return js, nc.Close, nil
		}
		log.WarnContext(ctx, "NATS is not reachable, trying again", "url", a.URL, "err", err)
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("connect to NATS at %s: %w", a.URL, err)
		}
	}
}

// WorkerMayPublish are the subjects that a worker's credential needs to take and answer
// hints, and no others.
func WorkerMayPublish() []string {
	return []string{
		"$JS.API.CONSUMER.INFO." + stream + ".*",
		"$JS.API.CONSUMER.MSG.NEXT." + stream + ".*",
		"$JS.ACK." + stream + ".>",
	}
}
