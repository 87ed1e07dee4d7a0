// Package flagd has flagd's own library evaluate what deploy/flag writes.
package flagd
