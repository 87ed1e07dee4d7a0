package analysis

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-build/slipway/internal/placeholder"
)

// Canary is what follows the name of a Deployment in that of its candidate's.
const Canary = "-canary"

// Names of pods end with the hash of a template and a random part, both of letters that make no words: no vowel and no y, so
// that "canary" is none of them.
const (
	random   = "[b-df-hj-np-tv-xz2-9]"
	maxBase  = 58 // bytes of a pod's name before its random part
	maxHash  = 10
	told     = len("-ca") // what tells a candidate's pods from those of stable, if the rest is cut off
	maxNamed = maxBase - told
)

// ask makes the question of a metric about the candidate, or about stable.
func ask(s Subject, provider string, m Metric, stable bool) (Question, error) {
	var bad error
	query := placeholder.Replace(m.Query, func(name string) string {
		value, err := s.value(name, stable)
		if err != nil && bad == nil {
			bad = err
		}
		if provider == JSON {
			value = url.QueryEscape(value)
		}
		return value
	})
	return Question{Query: query, Field: m.Field}, bad
}

func (s Subject) value(name string, stable bool) (string, error) {
	stable = stable || s.Itself
	switch name {
	case "weight":
		return strconv.Itoa(s.Weight), nil
	case "pods":
		return s.pods(stable)
	case "deployment":
		if len(s.Deployments) != 1 {
			return "", fmt.Errorf("$deployment stands for one Deployment, and service %s has %d: use $pods", s.Service, len(s.Deployments))
		}
		if stable {
			return s.Deployments[0], nil
		}
		return s.Deployments[0] + Canary, nil
	}
	value, ok := map[string]string{
		"project": s.Project, "service": s.Service, "environment": s.Environment, "cluster": s.Cluster, "namespace": s.Namespace,
	}[name]
	if !ok {
		return "", fmt.Errorf("there is no variable $%s; are coordinator and deployer of the same version?", name)
	}
	return value, nil
}

// pods is a regular expression without quotes and backslashes, so that it means the same in each kind of text of PromQL.
func (s Subject) pods(stable bool) (string, error) {
	if len(s.Deployments) == 0 {
		return "", fmt.Errorf("$pods stands for pods of Deployments, and service %s has none", s.Service)
	}
	all := make([]string, len(s.Deployments))
	for i, name := range s.Deployments {
		if len(name) > maxNamed {
			return "", fmt.Errorf("the name of Deployment %s has %d letters, with which pods of the candidate cannot be told from others: at most %d", name, len(name), maxNamed)
		}
		letters := "[0-9a-z]"
		if stable {
			letters = random
		} else {
			name += Canary
		}
		base, rest := name+"-", letters+"+-"+letters+"+"
		if len(base)+maxHash+1 > maxBase { // Kubernetes cuts off what is too long
			base, rest = base[:min(len(base), maxBase)], strings.TrimSuffix(letters, "]")+"-]+"
		}
		all[i] = strings.ReplaceAll(base, ".", "[.]") + rest
	}
	if len(all) == 1 {
		return all[0], nil
	}
	slices.Sort(all)
	return "(" + strings.Join(all, "|") + ")", nil
}

// check says which name could change the meaning of a query.
func (s Subject) check() error {
	name := regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?$`)
	for _, text := range append([]string{s.Project, s.Service, s.Environment, s.Cluster, s.Namespace}, s.Deployments...) {
		if !name.MatchString(text) {
			return fmt.Errorf("%q: %w", text, errSubject)
		}
	}
	return nil
}
