package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// What Kubernetes is given are objects that it knows, key by key, and they fit together.
func TestKubernetes(t *testing.T) {
	var (
		config  corev1.ConfigMap
		service corev1.Service
		set     appsv1.StatefulSet
		names   struct {
			Resources []string `json:"resources"`
		}
	)
	read := func(name string, into any, strict bool) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join("..", "deploy", "kubernetes", name))
		if err != nil {
			t.Fatal(err)
		}
		if strict {
			err = yaml.UnmarshalStrict(text, into)
		} else {
			err = yaml.Unmarshal(text, into)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	read("config.yaml", &config, true)
	read("service.yaml", &service, true)
	read("statefulset.yaml", &set, true)
	read("kustomization.yaml", &names, false)
	for _, name := range names.Resources {
		if _, err := os.Stat(filepath.Join("..", "deploy", "kubernetes", name)); err != nil {
			t.Error(err)
		}
	}
	pod := set.Spec.Template.Spec
	c := pod.Containers[0]
	if *set.Spec.Replicas != 1 || set.Spec.ServiceName != service.Name || pod.Volumes[0].ConfigMap.Name != config.Name || config.Data["pipit.toml"] == "" {
		t.Errorf("%+v", set.Spec)
	}
	for key, value := range service.Spec.Selector {
		if set.Spec.Template.Labels[key] != value || set.Spec.Selector.MatchLabels[key] != value {
			t.Errorf("the label %s=%s", key, value)
		}
	}
	if !*pod.SecurityContext.RunAsNonRoot || !*c.SecurityContext.ReadOnlyRootFilesystem || *pod.SecurityContext.FSGroup != 65532 {
		t.Error("it runs with rights")
	}
	for what, probe := range map[string]*corev1.Probe{"/healthz": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
		if probe.HTTPGet.Path != what || probe.HTTPGet.Port.StrVal != c.Ports[0].Name {
			t.Errorf("%s: %+v", what, probe)
		}
	}
	volumes := map[string]bool{pod.Volumes[0].Name: true, set.Spec.VolumeClaimTemplates[0].Name: true}
	for _, m := range c.VolumeMounts {
		if !volumes[m.Name] {
			t.Errorf("there is no volume %s", m.Name)
		}
	}
}

// The compose file is one by the schema.
func TestCompose(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{filepath.Join("..", "deploy", "container", "compose.yaml")}, cli.WithName("pipit"))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	s, err := project.GetService("pipit")
	if err != nil || !s.ReadOnly || s.MemLimit != 1<<30 || len(s.Volumes) != 1 || s.Volumes[0].Target != "/data" || len(s.CapDrop) != 1 {
		t.Errorf("%+v %v", s, err)
	}
	if _, err := os.Stat(filepath.Join(s.Build.Context, s.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
}
