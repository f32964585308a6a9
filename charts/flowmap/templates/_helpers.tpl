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

{{/* How the store is reached: its keys, from the Secret in `secret`; none where that is empty, for a pod whose identity
     the store knows. Region, proxies and the certificates of an authority of one's own. */}}
{{- define "flowmap.storeAccess" -}}
{{- with .secret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ . }}, key: access-key}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ . }}, key: secret-key}}
{{- end }}
{{- range $variable, $key := dict "AWS_REGION" "region" "HTTP_PROXY" "http-proxy" "HTTPS_PROXY" "https-proxy" "NO_PROXY" "no-proxy" }}
- name: {{ $variable }}
  valueFrom: {configMapKeyRef: {name: flowmap-store, key: {{ $key }}, optional: true}}
{{- end }}
{{- if .root.Values.store.caConfigMap }}
- {name: AWS_CA_BUNDLE, value: /etc/flowmap/authority/ca.crt}
- {name: REQUESTS_CA_BUNDLE, value: /etc/flowmap/authority/ca.crt}
{{- end }}
{{- end -}}

{{/* Where that authority's certificates are mounted, and what from. */}}
{{- define "flowmap.authorityMount" -}}
{{- if .Values.store.caConfigMap }}
- {name: authority, mountPath: /etc/flowmap/authority, readOnly: true}
{{- end }}
{{- end -}}
{{- define "flowmap.authorityVolume" -}}
{{- with .Values.store.caConfigMap }}
- name: authority
  configMap: {name: {{ . }}}
{{- end }}
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
  {{- with .Values.runAsUser }}
  runAsUser: {{ . }}
  runAsGroup: {{ . }}
  {{- end }}
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
