{{- define "driftloop.name" -}}
{{- $name := ternary .Release.Name (printf "%s-driftloop" .Release.Name) (contains "driftloop" .Release.Name) -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "driftloop.selector" -}}
app.kubernetes.io/name: driftloop
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "driftloop.labels" -}}
{{ include "driftloop.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: driftloop
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: driftloop-{{ .root.Chart.Version }}
{{- end -}}

{{- define "driftloop.image" -}}
{{- with .root.Values.image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
driftloop/{{ .image }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end -}}

{{/* Whether rows' parts lie in object storage, and so each API pod has a volume of its own. */}}
{{- define "driftloop.remote" -}}{{ with .Values.data.objectStorage.uri }}yes{{ end }}{{- end -}}

{{- define "driftloop.secret" -}}
{{ .Values.secrets.existingSecret | default (printf "%s-secrets" (include "driftloop.name" .)) }}
{{- end -}}

{{- define "driftloop.configMap" -}}
{{ .Values.existingConfigMap | default (printf "%s-config" (include "driftloop.name" .)) }}
{{- end -}}

{{/* A name within the cluster that needs no search list, which HAProxy does not read. */}}
{{- define "driftloop.host" -}}
{{ include "driftloop.name" .root }}-{{ .service }}.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}
{{- end -}}

{{- define "driftloop.mlflowURL" -}}
{{- if .Values.mlflow.enabled }}http://{{ include "driftloop.name" . }}-mlflow:5000{{ else }}{{ .Values.mlflow.external.url }}{{ end -}}
{{- end -}}

{{- define "driftloop.prefectURL" -}}
{{- if .Values.prefect.enabled }}http://{{ include "driftloop.name" . }}-prefect-server:4200/api{{ else }}{{ .Values.prefect.external.url }}{{ end -}}
{{- end -}}

{{/* What MLflow asks a service for: variables, as JSON. */}}
{{- define "driftloop.mlflowEnv" -}}
{{- $env := dict "MLFLOW_TRACKING_URI" (include "driftloop.mlflowURL" .root) -}}
{{- if or .root.Values.mlflow.enabled .root.Values.mlflow.external.existingSecret -}}
{{- $users := ternary (dict "api" "api" "flows" "flows" "trigger" "trigger") .root.Values.mlflow.external.users .root.Values.mlflow.enabled -}}
{{- $_ := set $env "MLFLOW_TRACKING_USERNAME" (index $users .account) -}}
{{- $_ := set $env "MLFLOW_TRACKING_PASSWORD_FILE" (printf "/run/secrets/driftloop/mlflow_%s_password" .account) -}}
{{- end -}}
{{- toJson $env -}}
{{- end -}}

{{/* Which Secret has a key; empty where nothing asks for it. */}}
{{- define "driftloop.secretOf" -}}
{{- $values := .root.Values -}}
{{- if regexMatch "^mlflow_(api|flows|trigger)_password$" .key -}}
{{- ternary (include "driftloop.secret" .root) $values.mlflow.external.existingSecret $values.mlflow.enabled -}}
{{- else if has .key (list "mlflow_database_password" "prefect_database_password") -}}
{{- ternary (include "driftloop.secret" .root) $values.postgresql.external.existingSecret $values.postgresql.enabled -}}
{{- else if eq .key "prefect_auth" -}}
{{- $values.prefect.external.existingSecret -}}
{{- else if eq .key "prometheus_password" -}}
{{- $values.monitoring.prometheus.existingSecret -}}
{{- else -}}
{{- include "driftloop.secret" .root -}}
{{- end -}}
{{- end -}}

{{/* Prefect's password, for a command that with-secrets starts; nothing where none is asked for. */}}
{{- define "driftloop.withPrefect" -}}
{{- if .root.Values.prefect.enabled -}}
{{- toJson (concat (list "with-secrets" "PREFECT_API_AUTH_STRING=driftloop:@driftloop/prefect_password" "--") .command) -}}
{{- else if .root.Values.prefect.external.existingSecret -}}
{{- toJson (concat (list "with-secrets" "PREFECT_API_AUTH_STRING=@driftloop/prefect_auth" "--") .command) -}}
{{- else -}}
{{- toJson .command -}}
{{- end -}}
{{- end -}}

{{- define "driftloop.prefectSecret" -}}{{ ternary "prefect_password" "prefect_auth" .Values.prefect.enabled }}{{- end -}}

{{/* Where the rows are, for those who read or write them: variables, as JSON. */}}
{{- define "driftloop.dataEnv" -}}
{{- if include "driftloop.remote" . -}}
{{- toJson (dict "DATA_DIR" .Values.data.objectStorage.uri "LOCAL_DIR" "/data") -}}
{{- else -}}
{{- toJson (dict "DATA_DIR" "/data") -}}
{{- end -}}
{{- end -}}

{{/*
A pod: the one place where all of them get what Compose gives every service. It takes
  root component image env resources, and where they are needed
  command args secrets (keys) config data (a claim's name, or "own") mounts volumes ports (name to number)
  text (that a change of starts it anew) ready (command) timing (of it) alive (command) preStop grace spread restart
*/}}
{{- define "driftloop.pod" -}}
{{- $root := .root -}}
{{- $name := include "driftloop.name" $root -}}
{{- $quiet := dict "DO_NOT_TRACK" "true" "MLFLOW_DISABLE_TELEMETRY" "true" "ORT_DISABLE_TELEMETRY" "1" "PREFECT_SERVER_ANALYTICS_ENABLED" "false" -}}
{{- $rows := has .component (list "api" "monitor" "prefect-runner") -}}
{{- $shared := and .data (ne .data "own") $rows -}}
metadata:
  labels:
    {{- include "driftloop.labels" . | nindent 4 }}
    {{- with .role }}
    driftloop/role: {{ . }}
    {{- end }}
    {{- if $shared }}
    driftloop/volume: shared
    {{- end }}
  {{- with ternary (include "driftloop.configText" $root) .text (default false .config) }}
  annotations:
    checksum/config: {{ sha256sum . }}
  {{- end }}
spec:
  serviceAccountName: {{ $name }}-{{ ternary "data" "services" $rows }}
  automountServiceAccountToken: false
  enableServiceLinks: false    # a Service called mlflow would set MLFLOW_PORT
  shareProcessNamespace: true  # as Compose's init: what a process leaves behind is reaped, and it is not the first
  terminationGracePeriodSeconds: {{ .grace | default 30 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $root.Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- if $shared }}
  affinity:                    # the locks on the volume are a kernel's: all who share it are on one node
    podAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              app.kubernetes.io/name: driftloop
              app.kubernetes.io/instance: {{ $root.Release.Name }}
              driftloop/volume: shared
  {{- end }}
  {{- if .spread }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "driftloop.selector" . | nindent 10 }}
  {{- end }}
  {{- with .restart }}
  restartPolicy: {{ . }}
  {{- end }}
  containers:
    - name: {{ .component }}
      image: {{ include "driftloop.image" . }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy | default (ternary "IfNotPresent" "Never" (ne $root.Values.image.registry "")) }}
      {{- with .command }}
      command: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .args }}
      args: {{- toYaml . | nindent 8 }}
      {{- end }}
      env:
        {{- range $key, $value := merge (dict) (.env | default dict) $quiet }}
        - name: {{ $key }}
          value: {{ $value | toString | quote }}
        {{- end }}
      {{- if and $rows $root.Values.data.objectStorage.existingSecret }}
      envFrom:
        - secretRef: {name: {{ $root.Values.data.objectStorage.existingSecret }}}
      {{- end }}
      {{- with .ports }}
      ports:
        {{- range $port, $number := . }}
        - name: {{ $port }}
          containerPort: {{ $number }}
        {{- end }}
      {{- end }}
      securityContext:
        readOnlyRootFilesystem: true
        allowPrivilegeEscalation: false
        privileged: false
        capabilities: {drop: [ALL]}
      resources: {{- toYaml .resources | nindent 8 }}
      {{- with .ready }}
      readinessProbe:
        exec:
          command: {{- toYaml . | nindent 12 }}
        {{- toYaml (merge (dict) ($.timing | default dict) (dict "periodSeconds" 5 "timeoutSeconds" 5 "failureThreshold" 6)) | nindent 8 }}
      {{- end }}
      {{- with .alive }}
      startupProbe:
        exec:
          command: {{- toYaml . | nindent 12 }}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 36
      livenessProbe:           # hung for two minutes
        exec:
          command: {{- toYaml . | nindent 12 }}
        periodSeconds: 20
        timeoutSeconds: 10
        failureThreshold: 6
      {{- end }}
      {{- with .preStop }}
      lifecycle:
        preStop:
          exec:
            command: {{- toYaml . | nindent 14 }}
      {{- end }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- if .secrets }}
        - {name: secrets, mountPath: /run/secrets/driftloop, readOnly: true}   # beside a cloud's own identity
        {{- end }}
        {{- if .config }}
        - {name: config, mountPath: /etc/driftloop, readOnly: true}
        {{- end }}
        {{- if .data }}
        - {name: data, mountPath: {{ .dataPath | default "/data" }}}
        {{- end }}
        {{- range .mounts }}
        - {{ toJson . }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 1Gi}
    {{- if .secrets }}
    - name: secrets
      projected:
        defaultMode: 0440
        sources:
          {{- range $key := .secrets }}
          {{- with include "driftloop.secretOf" (dict "root" $root "key" $key) }}
          - secret:
              name: {{ . }}
              items:
                - {key: {{ $key }}, path: {{ $key }}}
          {{- end }}
          {{- end }}
    {{- end }}
    {{- if .config }}
    - name: config
      configMap: {name: {{ include "driftloop.configMap" $root }}}
    {{- end }}
    {{- if and .data (ne .data "own") }}
    - name: data
      persistentVolumeClaim: {claimName: {{ .data }}}
    {{- end }}
    {{- range .volumes }}
    - {{ toJson . }}
    {{- end }}
{{- end -}}

{{/* How a database of yours is spoken to: variables, mounts and volumes, as JSON. */}}
{{- define "driftloop.database" -}}
{{- $database := .Values.postgresql.external -}}
{{- $env := dict -}}
{{- $mounts := list -}}
{{- $volumes := list -}}
{{- if not .Values.postgresql.enabled -}}
{{- $_ := set $env "PGSSLMODE" $database.sslMode -}}
{{- if $database.caSecret -}}
{{- $_ := set $env "PGSSLROOTCERT" "/etc/database-ca/ca.crt" -}}
{{- $mounts = list (dict "name" "database-ca" "mountPath" "/etc/database-ca" "readOnly" true) -}}
{{- $volumes = list (dict "name" "database-ca" "secret" (dict "secretName" $database.caSecret "defaultMode" 0440)) -}}
{{- end -}}
{{- end -}}
{{- toJson (dict "env" $env "mounts" $mounts "volumes" $volumes) -}}
{{- end -}}

{{- define "driftloop.configText" -}}
{{ .Values.config | default (.Files.Get "files/config.yml") }}
{{- end -}}

{{- define "driftloop.probe" -}}
{{ toJson (list "python" "-IS" (.script | default "monitoring/contract/probe.py") .port .path) }}
{{- end -}}

{{/* The claim of what API, monitor and runner share. */}}
{{- define "driftloop.claim" -}}
{{ .Values.data.volume.existingClaim | default (printf "%s-data" (include "driftloop.name" .)) }}
{{- end -}}

{{- define "driftloop.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "driftloop.name" .root }}{{ with .name }}-{{ . }}{{ end }}
  labels: {{- include "driftloop.labels" . | nindent 4 }}
    {{- with .extraLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- if .headless }}
  clusterIP: None
  publishNotReadyAddresses: true   # the proxy looks itself which pods are ready
  {{- end }}
  selector: {{- include "driftloop.selector" . | nindent 4 }}
    {{- with .role }}
    driftloop/role: {{ . }}
    {{- end }}
  ports:
    {{- range $port, $number := .ports }}
    - {name: {{ $port }}, port: {{ $number }}, targetPort: {{ $port }}}
    {{- end }}
{{- end -}}

{{- define "driftloop.volumeClaim" -}}
accessModes: [{{ .accessMode | default "ReadWriteOnce" }}]
{{- with .storageClass }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests: {storage: {{ .size }}}
{{- end -}}
