//go:build e2e

package shop_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/slipway-build/slipway/internal/enginetest"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// browser is a headless Chromium. Its profile is chromedp's own, which outlives no browser: children of Chromium may
// still write there when the browser itself has ended, too late for a folder of the test.
func browser(t *testing.T) context.Context {
	t.Helper()
	program := "/usr/bin/chromium"
	if _, err := os.Stat(program); err != nil {
		enginetest.Missing(t, "needs the package chromium: %v", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
	)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	return ctx
}

// TestTheDashboard looks at the farm as a person does: it signs in with the link that
// slipway dashboard prints, sees a run appear and end without loading a page again, and
// reads a log.
func TestTheDashboard(t *testing.T) {
	r := newShop(t)
	c := runs(t)
	ctx := browser(t)
	run := func(actions ...chromedp.Action) {
		t.Helper()
		if err := chromedp.Run(ctx, actions...); err != nil {
			var body string
			_ = chromedp.Run(ctx, chromedp.Text("body", &body))
			t.Fatalf("%v; the page says:\n%s", err, body)
		}
	}
	var address string
	run(
		chromedp.EmulateViewport(1280, 900),
		chromedp.Navigate(shared.farm.Web+"/login#"+url.QueryEscape(shared.farm.Token)),
		contains("Sign out"), chromedp.Location(&address),
	)
	if strings.Contains(address, "#") || strings.Contains(address, "login") {
		t.Errorf("signed in, the browser is at %s", address)
	}
	// A mark in the page is gone if it is loaded again.
	run(chromedp.Evaluate(`window.slipwayTest = "here"`, nil))
	s, err := c.Submit(t.Context(), &pb.SubmitRequest{IdempotencyKey: rpc.NewToken(), Repository: r.dir, Ref: "main"})
	if err != nil {
		t.Fatal(err)
	}
	id := s.GetRun().GetId()
	var mark string
	run(contains(id), chromedp.Evaluate(`window.slipwayTest || ""`, &mark))
	if mark != "here" {
		t.Error("the list was loaded again to show a new run")
	}
	run(chromedp.Click(`a[href="/runs/`+id+`"]`), contains("Where the time went"), chromedp.Evaluate(`window.slipwayTest = "there"`, nil))
	wait(t, c, id)
	run(
		chromedp.WaitVisible(`.heading .mark.good`), contains("verified/prod"), chromedp.Evaluate(`window.slipwayTest || ""`, &mark),
	)
	if mark != "there" {
		t.Error("the run was loaded again to show its end")
	}
	var bars, nodes int
	run(
		chromedp.Evaluate(`document.querySelectorAll(".fall rect.work").length`, &bars),
		chromedp.Evaluate(`document.querySelectorAll(".graph .node").length`, &nodes),
	)
	if nodes < 20 || bars < 10 {
		t.Errorf("%d tasks in the plan, %d in the waterfall", nodes, bars)
	}
	picture(t, ctx, "run")
	run(chromedp.Navigate(shared.farm.Web+"/runs/"+id+"/log?task="+url.QueryEscape("render/web@dev/dev")), contains("Deployment web"))
	picture(t, ctx, "log")
	run(chromedp.Navigate(shared.farm.Web+"/services"), contains("healthy"), contains("prod-us"))
	picture(t, ctx, "services")
	run(chromedp.Click(`header form button`), contains("Token"), chromedp.Navigate(shared.farm.Web+"/runs/"+id), contains("Token"))
}

// contains waits until the page says something, over one page following another.
func contains(text string) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			found := false
			err := chromedp.Evaluate(`document.body.innerText.includes(`+quote(text)+`)`, &found).Do(ctx)
			if err == nil && found {
				return nil
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return fmt.Errorf("wait for %q: %w", text, errors.Join(context.Cause(ctx), err))
			}
		}
	})
}

func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }

// picture keeps a screenshot where SLIPWAY_TEST_PICTURES says, for people.
func picture(t *testing.T, ctx context.Context, name string) { //nolint:revive // as testing helpers go
	t.Helper()
	dir := os.Getenv("SLIPWAY_TEST_PICTURES")
	if dir == "" {
		return
	}
	var data []byte
	if err := chromedp.Run(ctx, chromedp.FullScreenshot(&data, 100)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), data, 0o600); err != nil {
		t.Fatal(err)
	}
}
