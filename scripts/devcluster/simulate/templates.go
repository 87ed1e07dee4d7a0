package simulate

// The stages of pods, as KWOK reads them. A stage applies when all expressions of its selector hold; the selectors below leave
// no two stages for one pod.

const readyStage = `apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-ready}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: '.metadata.deletionTimestamp', operator: DoesNotExist}
    - {key: '.status.phase', operator: In, values: [Pending]}
    - {key: '.metadata.annotations["slipway.dev/simulate"]', operator: NotIn, values: [[.]]}
  steps:
  - event: {type: Normal, reason: Pulled, message: Container image already present on machine}
  - event: {type: Normal, reason: Created, message: Container created}
  - event: {type: Normal, reason: Started, message: Container started}
  - patch:
      subresource: status
      root: status
      template: |
        {{ $now := Now }}
        conditions:
        - {type: PodReadyToStartContainers, status: "True", lastTransitionTime: {{ $now | Quote }}}
        - {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
        - {type: Ready, status: "True", lastTransitionTime: {{ $now | Quote }}}
        - {type: ContainersReady, status: "True", lastTransitionTime: {{ $now | Quote }}}
        {{ range .spec.readinessGates }}
        - {type: {{ .conditionType | Quote }}, status: "True", lastTransitionTime: {{ $now | Quote }}}
        {{ end }}
        containerStatuses:
        {{ range $item := .spec.containers }}
        - name: {{ $item.name | Quote }}
          image: {{ $item.image | Quote }}
          imageID: {{ $item.image | Quote }}
          containerID: {{ printf "kwok://%s/%s" $.metadata.uid $item.name | Quote }}
          ready: true
          started: true
          restartCount: 0
          state: {running: {startedAt: {{ $now | Quote }}}}
        {{ end }}
        initContainerStatuses:
        {{ range .spec.initContainers }}
        - name: {{ .name | Quote }}
          image: {{ .image | Quote }}
          imageID: {{ .image | Quote }}
          ready: true
          restartCount: 0
          {{ if eq .restartPolicy "Always" }}
          started: true
          state: {running: {startedAt: {{ $now | Quote }}}}
          {{ else }}
          state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}
          {{ end }}
        {{ end }}
        {{ with NodeIPWith .spec.nodeName }}
        hostIP: {{ . | Quote }}
        hostIPs: [{ip: {{ . | Quote }}}]
        {{ end }}
        {{ with PodIPWith .spec.nodeName ( or .spec.hostNetwork false ) ( or .metadata.uid "" ) ( or .metadata.name "" ) ( or .metadata.namespace "" ) }}
        podIP: {{ . | Quote }}
        podIPs: [{ip: {{ . | Quote }}}]
        {{ end }}
        phase: Running
        startTime: {{ $now | Quote }}
  delay:
    durationMilliseconds: 0
    durationFrom: {expressionFrom: '.metadata.annotations["slipway.dev/simulate-delay"]'}
`

const failStage = `apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-[[.Name]][[if .Again]]-again[[end]]}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: '.metadata.deletionTimestamp', operator: DoesNotExist}
    - {key: '.metadata.annotations["slipway.dev/simulate"]', operator: In, values: [[printf "[%q]" .Name]]}
    [[- if .Again]]
    - {key: '.status.containerStatuses.[].restartCount', operator: In, values: ["1", "2", "3", "4"]}
    [[- else if eq .After "ready"]]
    - {key: '.status.conditions.[] | select( .type == "Ready" ) | .status', operator: In, values: ["True"]}
    [[- else]]
    - {key: '.status.containerStatuses', operator: DoesNotExist}
    [[- end]]
  delay:
    durationMilliseconds: [[if .Again]]10000[[else if eq .After "ready"]]5000[[else]]0[[end]]
    [[- if not .Again]]
    durationFrom: {expressionFrom: '.metadata.annotations["slipway.dev/simulate-delay"]'}
    [[- end]]
  steps:
  [[- range .Events]]
  - event: [[.YAML]]
  [[- end]]
  - patch:
      subresource: status
      root: status
      template: |
        {{ $now := Now }}
        {{ $restarts := [[.Restarts]] }}
        [[- if .Again]]
        {{ $restarts = add 1 (index .status.containerStatuses 0).restartCount }}
        [[- end]]
        conditions:
        - {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
        - {type: Ready, status: "False", reason: ContainersNotReady, message: {{ printf "containers with unready status: [%s]" (index .spec.containers 0).name | Quote }}, lastTransitionTime: {{ $now | Quote }}}
        - {type: ContainersReady, status: "False", reason: ContainersNotReady, message: {{ printf "containers with unready status: [%s]" (index .spec.containers 0).name | Quote }}, lastTransitionTime: {{ $now | Quote }}}
        containerStatuses:
        {{ range $item := .spec.containers }}
        - name: {{ $item.name | Quote }}
          image: {{ $item.image | Quote }}
          imageID: ""
          ready: false
          started: false
          restartCount: {{ $restarts }}
          state: [[.State]]
          [[- if .LastState]]
          lastState: [[.LastState]]
          [[- end]]
        {{ end }}
        {{ if not .status.podIP }}
        {{ with NodeIPWith .spec.nodeName }}
        hostIP: {{ . | Quote }}
        hostIPs: [{ip: {{ . | Quote }}}]
        {{ end }}
        {{ with PodIPWith .spec.nodeName ( or .spec.hostNetwork false ) ( or .metadata.uid "" ) ( or .metadata.name "" ) ( or .metadata.namespace "" ) }}
        podIP: {{ . | Quote }}
        podIPs: [{ip: {{ . | Quote }}}]
        {{ end }}
        {{ end }}
        phase: [[.Phase]]
        startTime: {{ or .status.startTime $now | Quote }}
`

const completeStage = `apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-complete}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: '.metadata.deletionTimestamp', operator: DoesNotExist}
    - {key: '.status.phase', operator: In, values: [Running]}
    - {key: '.metadata.ownerReferences.[].kind', operator: In, values: [Job]}
    - {key: '.status.conditions.[] | select( .type == "Ready" ) | .status', operator: In, values: ["True"]}
  steps:
  - patch:
      subresource: status
      root: status
      template: |
        {{ $now := Now }}
        conditions:
        - {type: Ready, status: "False", reason: PodCompleted, lastTransitionTime: {{ $now | Quote }}}
        - {type: ContainersReady, status: "False", reason: PodCompleted, lastTransitionTime: {{ $now | Quote }}}
        containerStatuses:
        {{ range $item := .spec.containers }}
        - name: {{ $item.name | Quote }}
          image: {{ $item.image | Quote }}
          imageID: {{ $item.image | Quote }}
          ready: false
          started: false
          restartCount: 0
          state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}
        {{ end }}
        phase: Succeeded
`

const deleteStage = `apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-delete}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: '.metadata.deletionTimestamp', operator: Exists}
  steps:
  - delete: true
`
