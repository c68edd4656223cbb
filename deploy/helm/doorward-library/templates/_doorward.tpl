{{/*
Doorward as a sidecar of an app that listens on loopback. In the pod's spec of the app's chart:

    spec:
      securityContext:
        fsGroup: 65532
      initContainers:
        {{- include "doorward.sidecar" .Values.doorward | nindent 8 }}
      containers: …
      volumes:
        {{- include "doorward.volumes" .Values.doorward | nindent 8 }}

The app's Service has `targetPort: proxy`. The values:

    doorward:
      image: images.example.com/doorward:0.1.0
      configMap: store-doorward    # has doorward.toml
      secret: store-doorward       # has the keys and client secrets, which doorward.toml names /var/run/doorward/…
      keys: [session.key]          # files of the Secret: the first seals, all decrypt. Optional
      env: []                      # more variables, optional
      resources: {}                # optional
*/}}
{{- define "doorward.sidecar" -}}
{{- /* Kubernetes stops a sidecar after its app, so the app's preStop hook is the delay. */ -}}
{{- $delay := dict "name" "DOORWARD_SERVER__SHUTDOWN_DELAY" "value" "0s" -}}
{{- $env := prepend (.env | default list) $delay -}}
- restartPolicy: Always
  {{- include "doorward.container" (merge (dict "env" $env) .) | nindent 2 }}
{{- end }}

{{/* The container's fields, of the same values. */}}
{{- define "doorward.container" -}}
{{- $keys := list -}}
{{- range .keys | default (list "session.key") -}}
{{- $keys = append $keys (printf "/var/run/doorward/%s" .) -}}
{{- end -}}
name: doorward
image: {{ required "doorward: `image` is missing" .image | quote }}
imagePullPolicy: {{ .imagePullPolicy | default "IfNotPresent" }}
args: ["run", "--config", "/etc/doorward/doorward.toml"]
env:
  # What the ports and the volumes below imply. They win over doorward.toml.
  - name: DOORWARD_SERVER__LISTEN
    value: "0.0.0.0:8080"
  - name: DOORWARD_SERVER__ADMIN_LISTEN
    value: "0.0.0.0:9090"
  - name: DOORWARD_SESSION__KEY_FILES
    value: {{ $keys | toJson | squote }}
  {{- with .env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - name: proxy
    containerPort: 8080
    protocol: TCP
  # For the kubelet's probes and Prometheus. No Service has it.
  - name: admin
    containerPort: 9090
    protocol: TCP
startupProbe:
  httpGet:
    path: /livez
    port: admin
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: 30
readinessProbe:
  httpGet:
    path: /readyz
    port: admin
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 2
livenessProbe:
  httpGet:
    path: /livez
    port: admin
  periodSeconds: 10
  timeoutSeconds: 2
  failureThreshold: 3
resources:
  {{- .resources | default (dict "requests" (dict "cpu" "50m" "memory" "32Mi") "limits" (dict "memory" "256Mi")) | toYaml | nindent 2 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: ["ALL"]
volumeMounts:
  - name: doorward-config
    mountPath: /etc/doorward
    readOnly: true
  - name: doorward-secrets
    mountPath: /var/run/doorward
    readOnly: true
{{- end }}

{{/* The volumes of that container. */}}
{{- define "doorward.volumes" -}}
- name: doorward-config
  configMap:
    name: {{ required "doorward: `configMap` is missing" .configMap }}
- name: doorward-secrets
  secret:
    secretName: {{ required "doorward: `secret` is missing" .secret }}
    # Readable by the group, which is fsGroup.
    defaultMode: 0440
{{- end }}
