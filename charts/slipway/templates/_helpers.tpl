{{- define "slipway.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{- define "slipway.labels" -}}
app.kubernetes.io/name: slipway
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "slipway.pod" -}}
securityContext: { runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532, seccompProfile: { type: RuntimeDefault } }
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "slipway.container" -}}
image: {{ include "slipway.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: [ALL] } }
{{- end -}}

{{- define "slipway.nats" -}}
{{ if .Values.nats.bundled }}nats://{{ .Release.Name }}-nats:4222{{ else }}{{ .Values.nats.url }}{{ end }}
{{- end -}}

{{- define "slipway.redis" -}}
{{ if .Values.redis.bundled }}{{ .Release.Name }}-redis:6379{{ else }}{{ .Values.redis.address }}{{ end }}
{{- end -}}

{{- define "slipway.address" -}}
{{ .Release.Name }}-coordinator.{{ .Release.Namespace }}.svc:7420
{{- end -}}
