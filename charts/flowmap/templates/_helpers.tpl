{{/* Labels that every object carries. */}}
{{- define "flowmap.labels" -}}
app.kubernetes.io/name: flowmap
app.kubernetes.io/part-of: flowmap
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* The store as flowmap names it: s3://bucket/prefix?endpoint=http://host:port */}}
{{- define "flowmap.storeUrl" -}}
s3://{{ .Values.store.bucket }}{{ with .Values.store.prefix }}/{{ . }}{{ end }}?endpoint={{ .Values.store.endpoint }}
{{- end -}}
