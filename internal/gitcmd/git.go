package gitcmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stderrLimit is how much of what git says about a failure is kept, in bytes.
const stderrLimit = 16 << 10

// Options say how git is run.
type Options struct {
	// Path of the git binary; empty: the one on the PATH of Env.
	Path string
	// Home is a folder for the configuration that every command gets. It is made when it is missing.
	Home string
	// Env is what commands may see of the environment: the result of PassThrough.
	Env []string
	// UserConfig keeps the personal and system configuration: for a person's own
	// working tree, where the filters that it names are part of what is in it.
	UserConfig bool
	// Config is given to every command, after the settings that make git safe. It may
	// hold credentials: it reaches git by the environment, never as an argument.
	Config []Setting
	// Limit bounds a command that names none. 0: two minutes.
	Limit time.Duration
}

// Setting is one key of git's configuration.
type Setting struct{ Key, Value string }

// Git runs commands. It is safe for concurrent use.
type Git struct {
	path   string
	env    []string
	limit  time.Duration
	config []Setting
}

// Command is one call of git.
type Command struct {
	// Dir is the repository: the bare one (GIT_DIR) unless WorkTree is set.
	Dir string
	// WorkTree: Dir is a folder inside a working tree, and git finds the repository.
	WorkTree bool
	// Args begin with git's command. What others wrote must stand after "--" or
	// "--end-of-options".
	Args []string
	// Env is added to the environment.
	Env    []string
	Stdin  io.Reader
	Stdout io.Writer
	// Protocols that git may speak: https, ssh, file. None: the command stays in the repository.
	Protocols []string
	// Limit bounds the command; 0: that of Options.
	Limit time.Duration
}

// Error is a command that git refused or that did not finish.
type Error struct {
	Command  string // git's command: "fetch"
	ExitCode int    // -1: killed
	Stderr   string // what git said, without escape sequences
	Cause    error  // why it was killed, or could not start
}

// Error has what git said on one line.
func (e *Error) Error() string {
	said := strings.Join(strings.Fields(e.Stderr), " ")
	switch {
	case e.Cause != nil && said == "":
		return fmt.Sprintf("git %s: %v", e.Command, e.Cause)
	case e.Cause != nil:
		return fmt.Sprintf("git %s: %v: %s", e.Command, e.Cause, said)
	case said == "":
		return fmt.Sprintf("git %s: exit status %d", e.Command, e.ExitCode)
	}
	return fmt.Sprintf("git %s: %s", e.Command, said)
}

// Unwrap is the cause: context.DeadlineExceeded for a command that took too long.
func (e *Error) Unwrap() error { return e.Cause }

// ErrNoGit: there is no git binary.
var ErrNoGit = errors.New("the program git was not found on the PATH; install it")

// PassThrough picks from an environment what git needs to reach other hosts: where
// programs and temporary files are, proxies, certificates, the keys of ssh.
func PassThrough(environ []string) []string {
	var out []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR", "USER", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO",
			"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy":
			out = append(out, kv)
		}
	}
	return out
}

// New looks for git and writes its configuration.
func New(o Options) (*Git, error) {
	g := &Git{path: o.Path, limit: o.Limit, config: append(safeSettings(o.UserConfig), o.Config...)}
	if g.path == "" {
		g.path = lookPath(o.Env)
	}
	if g.path == "" {
		return nil, ErrNoGit
	}
	if g.limit == 0 {
		g.limit = 2 * time.Minute
	}
	g.env = append(append([]string{}, o.Env...),
		"LC_ALL=C",
		"GIT_TERMINAL_PROMPT=0",
		"GIT_ASKPASS=",
		"SSH_ASKPASS=",
		"GIT_PAGER=cat",
		"GIT_EDITOR=false",
		"GIT_LITERAL_PATHSPECS=1",
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_PROTOCOL_FROM_USER=0",
		"GIT_SSH_COMMAND=ssh -oBatchMode=yes -oConnectTimeout=20",
	)
	if o.UserConfig {
		return g, nil
	}
	// upload-pack of a local repository is a child that does not get Setting, so what
	// it must know stands in a file: that the folder may belong to somebody else. Which
	// folders git is sent to is the caller's decision.
	if err := os.MkdirAll(o.Home, 0o700); err != nil {
		return nil, fmt.Errorf("folder for git's configuration: %w", err)
	}
	global := filepath.Join(o.Home, "gitconfig")
	if err := os.WriteFile(global, []byte("[safe]\n\tdirectory = *\n"), 0o600); err != nil {
		return nil, fmt.Errorf("git's configuration: %w", err)
	}
	g.env = append(g.env, "GIT_CONFIG_NOSYSTEM=1", "GIT_ATTR_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+global)
	return g, nil
}

func safeSettings(user bool) []Setting {
	s := []Setting{
		{"core.hooksPath", os.DevNull},
		{"core.fsmonitor", "false"},
		{"gc.auto", "0"},
		{"maintenance.auto", "false"},
		{"advice.detachedHead", "false"},
	}
	if user {
		return s
	}
	return append(s,
		Setting{"credential.helper", ""},
		Setting{"core.attributesFile", os.DevNull},
		Setting{"core.excludesFile", os.DevNull},
		Setting{"core.askPass", ""},
		Setting{"protocol.version", "2"},
		// Objects that could trick a checkout are refused; old clients' slips in dates and
		// modes, which many long histories have, are not.
		Setting{"transfer.fsckObjects", "true"},
		Setting{"fetch.fsck.zeroPaddedFilemode", "ignore"},
		Setting{"fetch.fsck.missingSpaceBeforeDate", "ignore"},
		Setting{"fetch.fsck.missingEmail", "ignore"},
		Setting{"fetch.fsck.badTimezone", "ignore"},
		Setting{"fetch.recurseSubmodules", "false"},
		Setting{"submodule.recurse", "false"},
		Setting{"http.followRedirects", "initial"},
		Setting{"tar.umask", "0022"},
	)
}

func lookPath(env []string) string {
	for _, kv := range env {
		list, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(list) {
			p := filepath.Join(dir, "git")
			if info, err := os.Stat(p); filepath.IsAbs(p) && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return p
			}
		}
	}
	return ""
}

// Output runs a command in a bare repository and returns what it printed.
func (g *Git) Output(ctx context.Context, dir string, args ...string) ([]byte, error) {
	var out bytes.Buffer
	err := g.Run(ctx, Command{Dir: dir, Args: args, Stdout: &out})
	return out.Bytes(), err
}

// Run runs a command to its end. Its error is an *Error, whose cause tells a command
// that was stopped from one that failed.
func (g *Git) Run(ctx context.Context, c Command) error {
	limit := c.Limit
	if limit == 0 {
		limit = g.limit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd, stderr := g.command(ctx, c)
	cmd.Stdin, cmd.Stdout = c.Stdin, c.Stdout
	return failure(ctx, c, cmd, stderr, cmd.Run())
}

// command is c, not started.
func (g *Git) command(ctx context.Context, c Command) (*exec.Cmd, *tail) {
	cmd := exec.CommandContext(ctx, g.path, c.Args...)
	cmd.Env = append(append(append([]string{}, g.env...), g.settings(c)...), c.Env...)
	if c.WorkTree {
		cmd.Dir = c.Dir
	} else {
		cmd.Env = append(cmd.Env, "GIT_DIR="+c.Dir)
		cmd.Dir = c.Dir
		if _, err := os.Stat(c.Dir); err != nil {
			cmd.Dir = filepath.Dir(c.Dir)
		}
	}
	stderr := &tail{limit: stderrLimit}
	cmd.Stderr = stderr
	// git starts helpers (ssh, remote-https, index-pack): the whole group ends together.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd, stderr
}

// failure is how a command ended, as an *Error.
func failure(ctx context.Context, c Command, cmd *exec.Cmd, stderr *tail, err error) error {
	if err == nil {
		return nil
	}
	e := &Error{Command: c.Args[0], ExitCode: cmd.ProcessState.ExitCode(), Stderr: stderr.text()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		e.Cause = context.Cause(ctx)
	case !errors.As(err, &exit):
		e.Cause = err
	}
	return e
}

// settings hands configuration over by the environment, where other users of the
// machine do not see it.
func (g *Git) settings(c Command) []string {
	all := append([]Setting{{"protocol.allow", "never"}}, g.config...)
	for _, p := range c.Protocols {
		all = append(all, Setting{"protocol." + p + ".allow", "always"})
	}
	env := []string{"GIT_ALLOW_PROTOCOL=" + strings.Join(c.Protocols, ":")}
	if len(c.Protocols) == 0 {
		env = []string{"GIT_ALLOW_PROTOCOL=none"}
	}
	env = append(env, fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(all)))
	for i, s := range all {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, s.Key), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, s.Value))
	}
	return env
}

// tail keeps the end of what is written to it.
type tail struct {
	limit int
	data  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if over := len(t.data) - t.limit; over > 0 {
		t.data = t.data[over:]
	}
	return len(p), nil
}

// text has no control characters: a remote host writes into it.
func (t *tail) text() string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == '\r':
			return '\n'
		case r < ' ' || r >= 0x7f && r < 0xa0:
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(t.data), "?"))
	return strings.TrimSpace(clean)
}
