{{- define "delivery.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/part-of: shop
{{- end }}
{{- define "delivery.labels" -}}
{{ include "delivery.selector" . }}
shop.example/environment: {{ .Values.environment }}
{{- end }}
