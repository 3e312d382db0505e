package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
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

// Those of a cluster likewise, and three pods have names that are those of its nodes.
func TestKubernetesCluster(t *testing.T) {
	const dir = "kubernetes/cluster"
	var (
		config     corev1.ConfigMap
		set        appsv1.StatefulSet
		nodes      corev1.Service
		disruption policyv1.PodDisruptionBudget
		claim      corev1.PersistentVolumeClaim
		job        batchv1.Job
		list       struct{ Resources []string }
	)
	manifests(t, dir+"/config.yaml", &config)
	manifests(t, dir+"/service.yaml", new(corev1.Service))
	manifests(t, dir+"/nodes.yaml", &nodes)
	manifests(t, dir+"/statefulset.yaml", &set)
	manifests(t, dir+"/disruption.yaml", &disruption)
	manifests(t, dir+"/init.yaml", &claim, &job)
	text, err := os.ReadFile(filepath.Join("..", "deploy", dir, "kustomization.yaml"))
	if err != nil || yaml.Unmarshal(text, &list) != nil || len(list.Resources) != 5 {
		t.Errorf("%v, resources %q", err, list.Resources)
	}
	for _, name := range list.Resources {
		if _, err := os.Stat(filepath.Join("..", "deploy", dir, name)); err != nil {
			t.Error(err)
		}
	}
	pod := set.Spec.Template.Spec
	if *set.Spec.Replicas != 3 || set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement || set.Spec.ServiceName != nodes.Name || disruption.Spec.MaxUnavailable.IntValue() != 1 {
		t.Errorf("%+v", set.Spec)
	}
	if nodes.Spec.ClusterIP != corev1.ClusterIPNone || !nodes.Spec.PublishNotReadyAddresses {
		t.Error("nodes do not find each other before they are ready")
	}
	if apart := pod.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution; len(apart) != 1 || !maps.Equal(apart[0].LabelSelector.MatchLabels, set.Spec.Selector.MatchLabels) {
		t.Errorf("two nodes may be on one machine: %+v", apart)
	}
	if env := pod.Containers[0].Env[0]; env.Name != "PIPIT_CLUSTER_NODE" || env.ValueFrom.FieldRef.FieldPath != "metadata.name" {
		t.Errorf("the name of a node: %+v", env)
	}
	for i := range *set.Spec.Replicas {
		name := fmt.Sprintf("%s-%d", set.Name, i)
		if peer := fmt.Sprintf("%s=%[1]s.%s:%d", name, nodes.Name, nodes.Spec.Ports[0].Port); !strings.Contains(config.Data["pipit.toml"], strconv.Quote(peer)) {
			t.Errorf("%s is no peer", peer)
		}
	}
	if data := set.Spec.VolumeClaimTemplates[0]; claim.Name != data.Name+"-"+set.Name+"-0" || !reflect.DeepEqual(claim.Spec, data.Spec) {
		t.Errorf("what is begun with is the volume %s, %+v", claim.Name, claim.Spec)
	}
	first := job.Spec.Template.Spec
	if first.Containers[0].Env[0].Value != set.Name+"-0" || first.Volumes[1].PersistentVolumeClaim.ClaimName != claim.Name {
		t.Errorf("%+v", first)
	}
	volumes := map[string]bool{set.Spec.VolumeClaimTemplates[0].Name: true}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
	}
	for _, m := range pod.Containers[0].VolumeMounts {
		if !volumes[m.Name] {
			t.Errorf("there is no volume %s", m.Name)
		}
	}
}

// manifests reads the documents of a file, each of which has to be an object key by key.
func manifests(t *testing.T, name string, into ...any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(text), "\n---\n")
	if len(parts) != len(into) {
		t.Fatalf("%s has %d objects", name, len(parts))
	}
	for i, part := range parts {
		if err := yaml.UnmarshalStrict([]byte(part), into[i]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The compose files are ones by the schema.
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

// In that of a cluster each of three nodes has a volume, a name and keys of its own.
func TestComposeCluster(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{filepath.Join("..", "deploy", "container", "cluster", "compose.yaml")}, cli.WithName("pipit"))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join("..", "deploy", "container", "cluster", "pipit.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		s, err := project.GetService(name)
		if err != nil || !s.ReadOnly || s.MemLimit != 1<<30 || len(s.CapDrop) != 1 || len(s.Volumes) != 5 || s.Volumes[0].Source != "data-"+name || s.Volumes[0].Target != "/data" {
			t.Fatalf("%s: %+v %v", name, s, err)
		}
		for key, want := range map[string]string{"NODE": name, "TLS_CERT": "/etc/pipit/keys/" + name + ".pem", "TLS_KEY": "/etc/pipit/keys/" + name + ".key", "TLS_CA": "/etc/pipit/keys/ca.pem"} {
			got := s.Environment["PIPIT_CLUSTER_"+key]
			if got == nil || *got != want || key != "NODE" && !slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == want }) {
				t.Errorf("%s: %s is not %s, or is not there", name, key, want)
			}
		}
		if _, err := os.Stat(filepath.Join(s.Build.Context, s.Build.Dockerfile)); err != nil {
			t.Error(err)
		}
		if !strings.Contains(string(config), strconv.Quote(name+"="+name+":7001")) {
			t.Errorf("%s is no peer", name)
		}
	}
	if subnet := project.Networks["default"].Ipam.Config[0].Subnet; !strings.Contains(string(config), strconv.Quote(subnet)) {
		t.Errorf("the proxy in %s is not trusted", subnet)
	}
}
