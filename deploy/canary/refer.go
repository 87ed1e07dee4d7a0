package canary

const (
	kindConfigMap = "ConfigMap"
	kindSecret    = "Secret"
	kindService   = "Service"
)

// references calls rename with the kind and name of every ConfigMap and Secret that a pod refers to, and writes the name that it
// returns.
func references(pod map[string]any, rename func(kind, name string) string) {
	r := renaming(rename)
	for _, secret := range fieldsOf(pod["imagePullSecrets"]) {
		r.at(secret, "name", kindSecret)
	}
	for _, volume := range fieldsOf(pod["volumes"]) {
		r.volume(volume)
	}
	for _, list := range []string{"containers", "initContainers", "ephemeralContainers"} {
		for _, container := range fieldsOf(pod[list]) {
			r.container(container)
		}
	}
}

type renaming func(kind, name string) string

func (r renaming) at(obj map[string]any, field, kind string) {
	if name, ok := obj[field].(string); ok && name != "" {
		obj[field] = r(kind, name)
	}
}

// volume knows every kind of volume that names either.
func (r renaming) volume(v map[string]any) {
	r.at(under(v, "configMap"), "name", kindConfigMap)
	r.at(under(v, "secret"), "secretName", kindSecret)
	r.at(under(v, "azureFile"), "secretName", kindSecret)
	r.at(under(v, "csi", "nodePublishSecretRef"), "name", kindSecret)
	for _, driver := range []string{"cephfs", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"} {
		r.at(under(v, driver, "secretRef"), "name", kindSecret)
	}
	for _, source := range fieldsOf(under(v, "projected")["sources"]) {
		r.at(under(source, "configMap"), "name", kindConfigMap)
		r.at(under(source, "secret"), "name", kindSecret)
	}
}

func (r renaming) container(c map[string]any) {
	for _, from := range fieldsOf(c["envFrom"]) {
		r.at(under(from, "configMapRef"), "name", kindConfigMap)
		r.at(under(from, "secretRef"), "name", kindSecret)
	}
	for _, env := range fieldsOf(c["env"]) {
		r.at(under(env, "valueFrom", "configMapKeyRef"), "name", kindConfigMap)
		r.at(under(env, "valueFrom", "secretKeyRef"), "name", kindSecret)
	}
}

// under is the map at a path; nil, of which every field is absent, when there is none.
func under(obj map[string]any, path ...string) map[string]any {
	for _, field := range path {
		obj, _ = obj[field].(map[string]any)
	}
	return obj
}

func fieldsOf(value any) []map[string]any {
	list, _ := value.([]any)
	out := make([]map[string]any, 0, len(list))
	for _, item := range list {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}
