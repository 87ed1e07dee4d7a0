package health

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/slipway-build/slipway/deploy/manifest"
)

// TestWhatObjectsSayOfThemselves: kinds that are not Kubernetes' own work when their conditions say so, or say nothing.
func TestWhatObjectsSayOfThemselves(t *testing.T) {
	grace := Grace{}.withDefaults()
	for name, c := range map[string]struct {
		group, status string
		done          bool
		fatal         string // once all graces are over; empty: nothing is
		reason        string
	}{
		"nothing":           {group: "example.org", status: "{}", done: true},
		"other conditions":  {group: "example.org", status: "{conditions: [{type: Synced, status: 'False'}]}", done: true},
		"ready":             {group: "example.org", status: "{observedGeneration: 2, conditions: [{type: Ready, status: 'True'}]}", done: true},
		"not looked at":     {group: "example.org", status: "{observedGeneration: 1, conditions: [{type: Ready, status: 'True'}]}"},
		"condition of old":  {group: "example.org", status: "{conditions: [{type: Ready, status: 'True', observedGeneration: 1}]}", reason: "NotReady"},
		"not ready":         {group: "example.org", status: "{conditions: [{type: Ready, status: 'False', reason: Pending, message: no license}]}", reason: "Pending: no license"},
		"unknown":           {group: "example.org", status: "{conditions: [{type: Ready, status: Unknown}]}", reason: "NotReady: Ready is Unknown"},
		"available":         {group: "example.org", status: "{conditions: [{type: Available, status: 'True'}]}", done: true},
		"ready counts more": {group: "example.org", status: "{conditions: [{type: Available, status: 'False'}, {type: Ready, status: 'True'}]}", done: true},
		"stalled": {
			group: "example.org", status: "{conditions: [{type: Ready, status: 'True'}, {type: Stalled, status: 'True', reason: BadSpec, message: give up}]}",
			fatal: "BadSpec", reason: "BadSpec: give up",
		},
		"route of two parents": {
			group: gatewayAPI, status: "{parents: [{conditions: [{type: Accepted, status: 'True'}]}, {conditions: [{type: Accepted, status: 'False', reason: NotAllowedByListeners}]}]}",
			reason: "NotAllowedByListeners",
		},
		"accepted route":  {group: gatewayAPI, status: "{parents: [{conditions: [{type: Accepted, status: 'True'}]}]}", done: true},
		"Kubernetes' own": {group: "networking.k8s.io", status: "{conditions: [{type: Ready, status: 'False'}]}", done: true},
	} {
		t.Run(name, func(t *testing.T) {
			var status map[string]any
			if err := yaml.Unmarshal([]byte(c.status), &status); err != nil {
				t.Fatal(err)
			}
			ref := manifest.Ref{GroupVersionKind: schema.GroupVersionKind{Group: c.group, Version: "v1", Kind: "Widget"}, Namespace: "n", Name: "w", Generation: 2}
			obj := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "w", "generation": int64(2)}, "status": status}}
			now := view{customs: map[schema.GroupKind]map[string]*unstructured.Unstructured{ref.GroupKind(): {"w": obj}}}
			seen, at := memory{since: map[string]time.Time{}}, time.Now()
			v := assess(now, []manifest.Ref{ref}, grace, &seen, at)
			if v.healthy() != c.done {
				t.Errorf("healthy: %v, pending %v", v.healthy(), v.pending)
			}
			v = assess(now, []manifest.Ref{ref}, grace, &seen, at.Add(time.Hour))
			if len(v.fatal) > 0 != (c.fatal != "") || c.fatal != "" && v.fatal[0].reason.Reason != c.fatal {
				t.Errorf("hopeless: %v", v.fatal)
			}
			all := slices.Concat(v.fatal, v.pending)
			if c.reason != "" && (len(all) == 0 || !strings.Contains(all[0].reason.String(), c.reason)) {
				t.Errorf("reasons %v, want %s", all, c.reason)
			}
		})
	}
}

// TestClaims: one that waits for its first pod is as it should be.
func TestClaims(t *testing.T) {
	claim := func(phase corev1.PersistentVolumeClaimPhase) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data", UID: "data"}, Status: corev1.PersistentVolumeClaimStatus{Phase: phase}}
	}
	failed := []*corev1.Event{{Reason: "ProvisioningFailed", Message: "no room", InvolvedObject: corev1.ObjectReference{UID: "data"}}}
	ref := manifest.Ref{GroupVersionKind: corev1.SchemeGroupVersion.WithKind(claimKind), Namespace: "n", Name: "data", UID: "data"}
	for name, c := range map[string]struct {
		phase  corev1.PersistentVolumeClaimPhase
		events []*corev1.Event
		done   bool
		fatal  bool // at once
		later  bool // after three minutes
	}{
		"bound":                {corev1.ClaimBound, nil, true, false, false},
		"bound after failures": {corev1.ClaimBound, failed, true, false, false},
		"waits":                {corev1.ClaimPending, nil, true, false, false},
		"no room":              {corev1.ClaimPending, failed, false, false, true},
		"lost":                 {corev1.ClaimLost, nil, false, true, true},
	} {
		now := view{claims: map[string]*corev1.PersistentVolumeClaim{"data": claim(c.phase)}, events: c.events}
		seen, at, grace := memory{since: map[string]time.Time{}}, time.Now(), Grace{}.withDefaults()
		first := assess(now, []manifest.Ref{ref}, grace, &seen, at)
		later := assess(now, []manifest.Ref{ref}, grace, &seen, at.Add(3*time.Minute))
		if first.healthy() != c.done || len(first.fatal) > 0 != c.fatal || len(later.fatal) > 0 != c.later {
			t.Errorf("%s: healthy %v, hopeless %v, later %v", name, first.healthy(), first.fatal, later.fatal)
		}
	}
}
