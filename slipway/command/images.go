package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/baseimages"
	"github.com/slipway-build/slipway/internal/clientfile"
	"github.com/slipway-build/slipway/slipway/render"
	"github.com/slipway-build/slipway/slipway/scaffold"
)

// imagesName is the list of home-made base images in the state folder.
const imagesName = "baseimages.json"

func (a *app) images() *cobra.Command {
	c := &cobra.Command{
		Use:   "images",
		Short: "Base images where no image registry can be reached",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.bootstrap(), a.listImages())
	return c
}

func (a *app) bootstrap() *cobra.Command {
	var goRoot string
	var folders []string
	c := &cobra.Command{
		Use:   "bootstrap [IMAGE]...",
		Short: "Make stand-ins for common base images from what this machine has",
		Long: `Bootstrap makes stand-ins for golang, node, python, redis, alpine, busybox and distroless/static
from the programs that are installed on this machine, and stores them in the registry of
the farm that slipway up started, where BuildKit finds them under their usual names. They
are labeled as home-made and named so in the provenance of what is built on them.

Each has the tags of the version that is installed. A Dockerfile that asks for another one,
such as golang:1.24-alpine, gets the installed version under that name too if IMAGE says so,
or --for FOLDER, which takes the names from all Dockerfiles in a folder.`,
		Example: "  slipway images bootstrap --for .\n  slipway images bootstrap golang:1.24-alpine",
		Args:    cobra.ArbitraryArgs,
	}
	c.Flags().StringArrayVar(&folders, "for", nil, "FOLDER: also under the names that the Dockerfiles in it build upon; may be repeated")
	c.Flags().StringVar(&goRoot, "go-root", "", "Go installation for golang images (default: that of the go command on the PATH)")
	c.RunE = func(c *cobra.Command, args []string) error {
		names := slices.Clone(args)
		for _, dir := range folders {
			if !filepath.IsAbs(dir) {
				dir = filepath.Join(a.env.Dir, dir)
			}
			bases, err := scaffold.Bases(os.DirFS(dir))
			if err != nil {
				return usage("%s: %w", dir, err)
			}
			names = append(names, bases...)
		}
		file, err := clientfile.Read(a.state)
		if err != nil {
			return usage("%w; start one with slipway up", err)
		}
		if file.Mirror == nil {
			return usage("the farm of %s has no registry of its own", a.state)
		}
		records, err := a.makeImages(c.Context(), baseimages.Config{GoRoot: goRoot, As: names}, file.Mirror)
		if err != nil {
			return err
		}
		if err := baseimages.WriteRecords(filepath.Join(a.state, imagesName), records); err != nil {
			return &exitError{ExitUsage, err}
		}
		return a.printf("%s", a.imageTable(records))
	}
	return c
}

func (a *app) makeImages(ctx context.Context, cfg baseimages.Config, m *clientfile.Mirror) ([]baseimages.Record, error) {
	cfg.Registry, cfg.Prefix, cfg.User, cfg.Password = m.Registry, m.Prefix, m.User, m.Password
	cfg.Progress = func(e baseimages.Event) {
		switch {
		case e.Is != "":
			a.note("%s  means %s here", e.Image, e.Is)
		case e.Missing != "":
			a.note("%s  left out: %s", e.Image, e.Missing)
		case e.Reused:
			a.note("%s  was there", e.Image)
		case e.Done:
			a.note("%s  made in %s, %.1f MB", e.Image, render.Duration(e.Took), float64(e.Bytes)/1e6)
		}
	}
	records, err := baseimages.Bootstrap(ctx, cfg)
	if ctx.Err() != nil {
		return nil, &exitError{code: ExitInterrupted}
	}
	if err != nil {
		return nil, &exitError{ExitUsage, err}
	}
	if len(records) == 0 {
		return nil, &exitError{ExitUsage, errors.New("this machine has nothing that a base image can be made from; install busybox-static, Go or Node")}
	}
	return records, nil
}

func (a *app) listImages() *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the home-made base images of a farm", Args: exactly()}
	out := outputFlag(c, "table", "json", "yaml")
	c.RunE = func(*cobra.Command, []string) error {
		records, err := baseimages.ReadRecords(filepath.Join(a.state, imagesName))
		if err != nil {
			return &exitError{ExitUsage, err}
		}
		if *out != "table" {
			if records == nil {
				records = []baseimages.Record{}
			}
			data, err := json.Marshal(records)
			if err != nil {
				return fmt.Errorf("encode images: %w", err)
			}
			return a.document(*out, data)
		}
		if len(records) == 0 {
			a.note("none; slipway images bootstrap makes them")
			return nil
		}
		return a.printf("%s", a.imageTable(records))
	}
	return c
}

func (a *app) imageTable(records []baseimages.Record) string {
	rows := make([][]render.Cell, 0, len(records))
	for _, r := range records {
		rows = append(rows, []render.Cell{{Text: r.Name}, {Text: render.Short(r.Digest)}, {Text: r.Description}})
	}
	return a.style().Table([]string{"IMAGE", "DIGEST", "HOME-MADE"}, rows)
}
