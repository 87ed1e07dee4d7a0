// Package clientfile reads and writes client.yaml: where a farm is and with which
// token it is used, left by the farm in its state folder for the CLI on the same
// machine.
//
// It holds secrets: it is written for its owner alone, and refused when others can
// read it. It dials nothing.
package clientfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v4"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// Name of the file in the state folder.
const Name = "client.yaml"

// File is how to use a farm.
type File struct {
	// Address of the coordinator, "host:port"; of several, with commas between them.
	Address string `yaml:"address"`
	Token   string `yaml:"token"`
	// CAFile is a certificate in PEM that signed the coordinator's; empty: none, or the system's.
	CAFile string `yaml:"ca_file,omitempty"`
	// Web is the address of the dashboard and of /metrics.
	Web string `yaml:"web,omitempty"`
	// Mirror is where base images may be written.
	Mirror *Mirror `yaml:"mirror,omitempty"`
}

// Mirror is the part of the farm's registry that stands in for docker.io.
type Mirror struct {
	Registry string `yaml:"registry"` // host:port
	Prefix   string `yaml:"prefix"`   // what repository names begin with there
	User     string `yaml:"user"`
	Password string `yaml:"password"`
}

// ErrNone: no farm has left a file in that folder.
var ErrNone = errors.New("no farm was started with this state folder")

// Read reads the file of a state folder.
func Read(state string) (File, error) {
	name := filepath.Join(state, Name)
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return File{}, fmt.Errorf("%s: %w", state, ErrNone)
	}
	if err != nil {
		return File{}, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return File{}, fmt.Errorf("%s holds a token and can be read by others; run chmod 600 on it", name)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return File{}, err
	}
	var f File
	if problems := strictyaml.Decode(name, data, strictyaml.DefaultLimits(), &f); len(problems) > 0 {
		return File{}, problems.Err()
	}
	if f.Address == "" {
		return File{}, fmt.Errorf("%s: address is missing; start the farm again", name)
	}
	return f, nil
}

// Write replaces the file of a state folder at once.
func Write(state string, f File) error {
	data, err := yaml.Marshal(f)
	if err != nil {
		return fmt.Errorf("write %s: %w", Name, err)
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return fmt.Errorf("write %s: %w", Name, err)
	}
	tmp, err := os.CreateTemp(state, Name+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", Name, err)
	}
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(state, Name))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", Name, err), os.Remove(tmp.Name()))
	}
	return nil
}

// Remove says that the farm is gone. No file is no error.
func Remove(state string) error {
	if err := os.Remove(filepath.Join(state, Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
