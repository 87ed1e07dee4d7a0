package farm

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"

	"github.com/slipway-build/slipway/chaos/node"
)

// Environments of a project that is rolled out on clusters, in order: each has one of its own, and prod is given a
// candidate first.
func Environments() []string { return []string{"dev", "prod", "last"} }

// Lane is a project with clusters of its own, and two deployers that serve them. None is started.
type Lane struct {
	Project   int
	Deployers [2]*Proc
	Gates     map[string]*Gate // by environment
}

// Namespace of a project in an environment, whose cluster is named like it.
func Namespace(project int, environment string) string { return Project(project) + "-" + environment }

// Branches of a project that is rolled out on clusters.
const (
	Good = "main"
	Bad  = "bad" // its candidate crashes
)

// lanes makes what a lane of each project needs.
func (f *Farm) lanes() error {
	token := filepath.Join(f.Dir, "deployer.token")
	if err := write(token, f.worker); err != nil {
		return err
	}
	for i := range f.Projects {
		lane := &Lane{Project: i, Gates: map[string]*Gate{}}
		f.Lanes = append(f.Lanes, lane)
		clusters := ""
		for _, env := range Environments() {
			g, err := openGate(f.Cluster.Config)
			if err != nil {
				return err
			}
			g.Doubles = f.Doubles
			lane.Gates[env] = g
			file := filepath.Join(f.Dir, Namespace(i, env)+".kubeconfig")
			if err := g.kubeconfig(file); err != nil {
				return err
			}
			clusters += fmt.Sprintf("  %s: { kubeconfig: %q, qps: 200, timeout: 2s, patience: 2s }\n", Namespace(i, env), file)
		}
		for d := range lane.Deployers {
			name := fmt.Sprintf("deployer-%s-%d", Project(i), d)
			file := filepath.Join(f.Dir, name+".yaml")
			text := fmt.Sprintf("name: %s\ncoordinator: { address: %q, token_file: %q }\ndrain: 1s\nclusters:\n%s", name, f.door.address(), token, clusters)
			if err := write(file, text); err != nil {
				return err
			}
			lane.Deployers[d] = program(f.Dir, name, nil, f.Deployer, "--config", file)
		}
	}
	return nil
}

func (f *Farm) stopLanes() {
	for _, l := range f.Lanes {
		for _, d := range l.Deployers {
			if d != nil {
				d.Kill()
			}
		}
		for _, g := range l.Gates {
			g.close()
		}
	}
}

// laneTargets of a project: dev, then prod by a canary, then last.
func laneTargets(n int) string {
	text := "version: 1\nproject: " + Project(n) + "\nclusters:\n"
	for _, env := range Environments() {
		text += fmt.Sprintf("  %[1]s: { labels: { place: %[1]s } }\n", Namespace(n, env))
	}
	text += "environments:\n"
	before := ""
	for _, env := range Environments() {
		more := ""
		if before != "" {
			more = fmt.Sprintf(", after: { env: %s }", before)
		}
		if env == "prod" {
			more += ", strategy: { canary: [50, 100], pause: 3s }"
		}
		text += fmt.Sprintf("  %s: { clusters: { place: %s }, namespace: %[2]s%s }\n", env, Namespace(n, env), more)
		before = env
	}
	return text
}

// laneRepository makes the repository of a project: one service, and a branch whose candidate crashes.
func laneRepository(dir, project string, _ bool) error {
	pipeline := func(folder string) string {
		return fmt.Sprintf("version: 1\nproject: %s\nservices:\n  api: { path: api, deploy: { path: deploy/%s } }\n", project, folder)
	}
	git := func(args ...string) error {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=chaos", "-c", "user.email=chaos@example.com"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git %v: %w\n%s", args, err, out)
		}
		return nil
	}
	file := func(name, text string) error { return write(filepath.Join(dir, name), text) }
	return errors.Join(
		file("api/Dockerfile", "FROM scratch\nCOPY api /\n"), file("deploy/good/kustomization.yaml", "resources: []\n"),
		file("deploy/"+node.Crash+"/kustomization.yaml", "resources: []\n"), file("slipway.yaml", pipeline("good")),
		git("init", "-q", "-b", Good), git("add", "-A"), git("commit", "-q", "-m", "first"), git("checkout", "-q", "-b", Bad),
		file("slipway.yaml", pipeline(node.Crash)), git("commit", "-q", "-a", "-m", "it crashes"), git("checkout", "-q", Good),
	)
}
