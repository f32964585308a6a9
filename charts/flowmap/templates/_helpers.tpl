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

{{/* What a restricted namespace asks of a pod that this chart runs itself. */}}
{{- define "flowmap.restrictedPod" -}}
restartPolicy: Never
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* ... and of its container. */}}
{{- define "flowmap.restrictedContainer" -}}
workingDir: /scratch
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
resources:
  requests: {cpu: 50m, memory: 256Mi}
  limits: {cpu: "1", memory: 1Gi}
{{- end -}}
