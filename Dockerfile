# The images of Slipway: its four programs, and the NATS and Redis that the chart can bring along. slipway.yaml names the stages.
#
#     docker build --target slipway --tag registry.example.com/slipway:0.1.0 --build-arg VERSION=0.1.0 .
ARG GO_IMAGE=golang:1.26
ARG GIT_IMAGE=alpine/git:latest
ARG REDIS_IMAGE=redis:7-alpine

FROM ${GO_IMAGE} AS source
ENV CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false"
ARG GOPROXY=https://proxy.golang.org,direct
WORKDIR /src
COPY go.mod go.sum ./

FROM source AS build
ARG VERSION=development
COPY slipway slipway
COPY coordinator coordinator
COPY worker worker
COPY deploy deploy
COPY internal internal
COPY proto proto
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    set -e; for p in slipway coordinator worker deploy; do \
      case $p in slipway) name=slipway;; deploy) name=slipway-deployer;; *) name=slipway-$p;; esac; \
      go build -ldflags="-s -w -X main.version=$VERSION" -o /out/$name ./$p; \
    done

# The coordinator's mirror of repositories needs git.
FROM ${GIT_IMAGE} AS slipway
COPY --from=build /out/ /usr/local/bin/
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT []
CMD ["slipway", "--help"]

# The version that go.mod names.
FROM source AS nats-build
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    go build -ldflags="-s -w" -o /out/nats-server github.com/nats-io/nats-server/v2

FROM scratch AS nats
COPY --from=nats-build /out/nats-server /usr/local/bin/nats-server
USER 65532:65532
EXPOSE 4222 8222
ENTRYPOINT ["/usr/local/bin/nats-server"]

FROM ${REDIS_IMAGE} AS redis
USER 65532:65532
EXPOSE 6379
