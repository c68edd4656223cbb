{{- define "doorward.name" -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- define "doorward.selector" -}}
app.kubernetes.io/name: doorward
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "doorward.labels" -}}
{{ include "doorward.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* The values of the library's templates. */}}
{{- define "doorward.values" -}}
{{- $replicas := ternary .Values.autoscaling.maxReplicas .Values.replicas .Values.autoscaling.enabled | int }}
{{- if and (gt $replicas 1) (not .Values.redis.url) (not .Values.redis.existingSecret) }}
{{- fail "several replicas need a Redis: set redis.url or redis.existingSecret, or replicas to 1" }}
{{- end }}
image: {{ printf "%s:%s" (required "set image.repository" .Values.image.repository) (.Values.image.tag | default .Chart.AppVersion) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
configMap: {{ .Values.existingConfigMap | default (include "doorward.name" .) }}
secret: {{ required "set secret" .Values.secret }}
keys: {{ .Values.keys | toJson }}
resources: {{ .Values.resources | toJson }}
env:
  {{- if .Values.redis.existingSecret }}
  - name: DOORWARD_STORE__URL
    valueFrom:
      secretKeyRef:
        name: {{ .Values.redis.existingSecret }}
        key: {{ .Values.redis.existingSecretKey }}
  {{- else if .Values.redis.url }}
  - name: DOORWARD_STORE__URL
    value: {{ .Values.redis.url | quote }}
  {{- end }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
