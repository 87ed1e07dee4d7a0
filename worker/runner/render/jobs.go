package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/worker/runner"
)

// withJobs adds what the service carries out beside the rollout: each is a Job made of
// the pod that the service itself runs as, so that it has its image, configuration,
// volumes and account.
func withJobs(objects []object, service, from string, work runner.Render) ([]object, error) {
	if len(work.Jobs) == 0 {
		return objects, nil
	}
	pod, container := own(objects, work.Images)
	if pod == nil {
		return nil, fmt.Errorf("%s: %s of service %s needs a Deployment, StatefulSet or DaemonSet with a container of its image, and there is none",
			from, work.Jobs[0].Name, service)
	}
	for _, j := range work.Jobs {
		o := object{at: from, fields: job(j, service, pod, container)}
		setNamespace(&o, work.Namespace)
		objects = append(objects, o)
	}
	return objects, unique(objects)
}

// own finds the first container that runs the service's image, and the pod that it is in.
func own(objects []object, images map[string]string) (pod, container map[string]any) {
	for _, o := range objects {
		if !slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet"}, o.kind()) {
			continue
		}
		spec, _ := dig(o.fields, "spec", "template", "spec").(map[string]any)
		containers, _ := spec["containers"].([]any)
		for _, c := range containers {
			fields, _ := c.(map[string]any)
			image, _ := fields["image"].(string)
			for _, digest := range images {
				if image == digest {
					return spec, fields
				}
			}
		}
	}
	return nil, nil
}

func dig(m map[string]any, keys ...string) any {
	var v any = m
	for _, k := range keys {
		fields, _ := v.(map[string]any)
		v = fields[k]
	}
	return v
}

func job(j runner.Job, service string, pod, container map[string]any) map[string]any {
	name := service + "-" + j.Name
	c := maps.Clone(container)
	for _, key := range []string{"ports", "args", "lifecycle", "livenessProbe", "readinessProbe", "startupProbe"} {
		delete(c, key)
	}
	c["name"], c["command"] = j.Name, []any{"/bin/sh", "-c", j.Run}
	c["env"] = environment(container["env"], j)
	spec := maps.Clone(pod)
	for _, key := range []string{"initContainers", "ephemeralContainers", "affinity", "topologySpreadConstraints", "readinessGates"} {
		delete(spec, key)
	}
	spec["containers"], spec["restartPolicy"], spec["enableServiceLinks"] = []any{c}, "Never", true
	labels := map[string]any{"app.kubernetes.io/name": name, "app.kubernetes.io/component": "job"}
	return map[string]any{
		"apiVersion": "batch/v1", "kind": "Job",
		"metadata": map[string]any{"name": name, "labels": labels, "annotations": map[string]any{annotationHook: j.Phase}},
		"spec": map[string]any{
			"backoffLimit": 0, "activeDeadlineSeconds": j.Timeout,
			"template": map[string]any{"metadata": map[string]any{"labels": labels}, "spec": spec},
		},
	}
}

// environment is the container's, the addresses of services, and what the job has of its
// own. Kubernetes tells each pod where the services of its namespace are.
func environment(base any, j runner.Job) []any {
	set := map[string]bool{}
	var own []any
	add := func(name, value string) {
		set[name] = true
		own = append(own, map[string]any{"name": name, "value": value})
	}
	for _, s := range j.Services {
		shell := strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(s))
		add("SLIPWAY_URL_"+shell, fmt.Sprintf("http://$(%s_SERVICE_HOST):$(%s_SERVICE_PORT)", shell, shell))
	}
	for _, name := range slices.Sorted(maps.Keys(j.Env)) {
		add(name, strings.ReplaceAll(j.Env[name], "$(", "$$("))
	}
	before, _ := base.([]any)
	var out []any
	for _, e := range before {
		fields, _ := e.(map[string]any)
		if name, _ := fields["name"].(string); !set[name] {
			out = append(out, e)
		}
	}
	return append(out, own...)
}
