// Package baseimages makes stand-ins for common base images out of what the machine has, for places where no image
// registry can be reached: golang from the Go installation, node from the Node installation, alpine and busybox from a
// static busybox, and distroless/static of gcr.io. They are pushed as mirror images of their registries, so Dockerfiles
// stay as they are; what those ask for in another version gets the version that there is, under the name they ask for.
//
// A stand-in is never mistaken for the real thing: it carries the label dev.slipway.homemade, says in its description
// what it lacks, and is listed in Records. The same inputs give the same digest, so nothing is built again because of it.
//
// It does not run anything in a container, does not fetch anything, and knows no package manager.
package baseimages
