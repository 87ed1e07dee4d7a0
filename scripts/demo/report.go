package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/slipway-build/slipway/internal/devclusters"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// summary is .slipway/demo/summary.json.
type summary struct {
	Setup float64      `json:"setup_s"`
	Job   float64      `json:"job_s"`
	Runs  []runSummary `json:"runs"`
}

type runSummary struct {
	ID       string           `json:"id"`
	Trace    string           `json:"trace"`
	State    string           `json:"state"`
	Seconds  float64          `json:"seconds"`
	Services []serviceSummary `json:"services"`
}

type serviceSummary struct {
	Name     string           `json:"name"`
	Digest   string           `json:"digest"`
	Action   string           `json:"action"` // built, reused
	Reason   string           `json:"reason"`
	Tests    tests            `json:"tests"`
	Clusters []clusterSummary `json:"clusters"`
	Seconds  float64          `json:"seconds"` // of the work that was done for it
}

type tests struct {
	Total  int32 `json:"total"`
	Passed int32 `json:"passed"`
	Failed int32 `json:"failed"`
	Reused bool  `json:"reused,omitempty"`
}

type clusterSummary struct {
	Name        string `json:"name"`
	Environment string `json:"environment"`
	State       string `json:"state"`
	Simulated   bool   `json:"simulated"`
	HTTP        int32  `json:"http"` // 0: nothing could be asked, pods are simulated
}

// summarize reads a run into the form of the summary.
func summarize(r *pb.Run) runSummary {
	out := runSummary{ID: r.GetId(), Trace: r.GetTraceId(), State: short(r.GetState().String(), "RUN_STATE_")}
	if r.GetFinishedAt() != nil {
		out.Seconds = r.GetFinishedAt().AsTime().Sub(r.GetAcceptedAt().AsTime()).Seconds()
	}
	for _, s := range r.GetServices() {
		out.Services = append(out.Services, service(r, s))
	}
	return out
}

func short(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

func service(r *pb.Run, s *pb.Service) serviceSummary {
	out := serviceSummary{Name: s.GetName(), Reason: s.GetReason(), Tests: tests{Reused: true}}
	for _, t := range r.GetTasks() {
		if t.GetService() != s.GetName() {
			continue
		}
		for _, a := range t.GetAttempts() {
			if a.GetFinishedAt() != nil {
				out.Seconds += a.GetFinishedAt().AsTime().Sub(a.GetLeasedAt().AsTime()).Seconds()
			}
		}
		reused := t.GetState() == pb.TaskState_TASK_STATE_REUSED
		switch t.GetKind() {
		case "build":
			out.Action = "built"
			if reused {
				out.Action = "reused"
			}
			_, out.Digest, _ = strings.Cut(t.GetResult().GetImage(), "@")
		case "test":
			n := t.GetResult().GetTests()
			out.Tests.Total += n.GetTotal()
			out.Tests.Passed += n.GetPassed()
			out.Tests.Failed += n.GetFailed()
			out.Tests.Reused = out.Tests.Reused && reused
		case "apply":
			d := t.GetResult().GetDeploy()
			state := d.GetState()
			if state == "" {
				state = short(t.GetState().String(), "TASK_STATE_")
			}
			out.Clusters = append(out.Clusters, clusterSummary{
				Name: t.GetCluster(), Environment: t.GetEnvironment(), State: state, Simulated: d.GetSimulated(), HTTP: d.GetHttp(),
			})
		}
	}
	return out
}

// report writes the summary, shows it, and answers an error if a service is not well.
func (d *demo) report(ctx context.Context) error {
	data, err := json.MarshalIndent(d.summary, "", "  ")
	if err != nil {
		return fmt.Errorf("encode summary: %w", err)
	}
	file := filepath.Join(d.dir, "summary.json")
	if err := os.WriteFile(file, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	for i, r := range d.summary.Runs {
		fmt.Fprintf(d.out, "\nrun %d: %s %s in %.1f s\n", i+1, r.ID, r.State, r.Seconds)
		d.table(r)
	}
	fmt.Fprintln(d.out)
	page := d.storefronts(ctx)
	last := d.summary.Runs[len(d.summary.Runs)-1].ID
	fmt.Fprintf(d.out, "\nset-up %.0f s, job %.0f s\n", d.summary.Setup, d.summary.Job)
	fmt.Fprintf(d.out, "where to look:\n  %s\n", file)
	if d.keep {
		fmt.Fprintf(d.out, "  bin/slipway --state .slipway/demo trace %s\n  bin/slipway --state .slipway/demo logs %s test/cart/integration\n", last, last)
	} else {
		fmt.Fprintf(d.out, "  KEEP=1 make demo leaves it running, for: bin/slipway --state .slipway/demo trace %s\n", last)
	}
	return errors.Join(page, d.unwell())
}

func (d *demo) table(r runSummary) {
	w := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVICE\tDIGEST\tBUILD\tTESTS\tCLUSTERS\tTIME\tWHY")
	for _, s := range r.Services {
		var clusters []string
		for _, c := range s.Clusters {
			text := c.Name + ":" + c.State
			switch {
			case c.Simulated:
				text += " (simulated)"
			case c.HTTP != 0:
				text += fmt.Sprintf(" (HTTP %d)", c.HTTP)
			}
			clusters = append(clusters, text)
		}
		passed := fmt.Sprintf("%d/%d", s.Tests.Passed, s.Tests.Total)
		switch {
		case s.Tests.Total == 0:
			passed = "none"
		case s.Tests.Reused:
			passed += " reused"
		}
		digest := strings.TrimPrefix(s.Digest, "sha256:")
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%.1fs\t%s\n", s.Name, digest[:min(12, len(digest))], s.Action, passed, strings.Join(clusters, ", "), s.Seconds, s.Reason)
	}
	_ = w.Flush()
}

// storefronts asks a rolled-out pod of each cluster with a real node for its page.
func (d *demo) storefronts(ctx context.Context) error {
	var errs []error
	asked := 0
	for _, c := range d.clusters {
		if c.Kind == devclusters.Real && !c.Ready.Simulated {
			asked++
			errs = append(errs, d.storefront(ctx, c))
		}
	}
	if asked == 0 {
		fmt.Fprintln(d.out, "pods are simulated in every cluster: no request can be answered")
	}
	return errors.Join(errs...)
}

// storefront asks through the API server's proxy: this machine never dials Service or
// pod addresses.
func (d *demo) storefront(ctx context.Context, c *devclusters.Cluster) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Ready.Kubeconfig)
	if err != nil {
		return fmt.Errorf("storefront: %w", err)
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("storefront: %w", err)
	}
	body, err := client.CoreV1().Services("shop").ProxyGet("http", "web", "80", "/", nil).DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("the storefront does not answer through the API server of %s: %w", c.Name, err)
	}
	title := regexp.MustCompile(`(?s)<title>(.*?)</title>`).FindSubmatch(body)
	if title == nil {
		return fmt.Errorf("the storefront answers %d bytes without a title", len(body))
	}
	fmt.Fprintf(d.out, "a rolled-out pod in %s answers GET / with %q (%d bytes)\n", c.Name, strings.TrimSpace(string(title[1])), len(body))
	return nil
}

// withoutHTTP is the service of the shop that is not asked: Redis.
const withoutHTTP = "store"

// unwell names what is not healthy, or does not answer though its pods are real.
func (d *demo) unwell() error {
	var errs []error
	for _, r := range d.summary.Runs {
		if r.State != "succeeded" {
			errs = append(errs, fmt.Errorf("run %s %s", r.ID, r.State))
		}
		for _, s := range r.Services {
			if len(s.Clusters) < len(d.clusters) {
				errs = append(errs, fmt.Errorf("%s: %s is in %d of %d clusters", r.ID, s.Name, len(s.Clusters), len(d.clusters)))
			}
			for _, c := range s.Clusters {
				if c.State != "healthy" {
					errs = append(errs, fmt.Errorf("%s: %s is %s in %s", r.ID, s.Name, c.State, c.Name))
				}
				if !c.Simulated && c.HTTP != 200 && s.Name != withoutHTTP {
					errs = append(errs, fmt.Errorf("%s: %s answers with status %d in %s, want 200", r.ID, s.Name, c.HTTP, c.Name))
				}
			}
		}
	}
	return errors.Join(errs...)
}
