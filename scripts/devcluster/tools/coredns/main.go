// Command coredns is CoreDNS with the few plugins that a development cluster needs: names of Services and Pods from the API
// server, and nothing else.
//
// It has no plugin that forwards: the node's network namespace has no way out, so a name from outside the cluster is answered
// NXDOMAIN at once instead of after a time-out. Leaving the other plugins out also leaves out the clients of a dozen clouds.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	dnsserver.Directives = []string{"errors", "ready", "cache", "kubernetes", "template"}
	coremain.Run()
}
