package health

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWhenThePodsImagesWerePulled(t *testing.T) {
	second := func(n int) time.Time { return time.Unix(1_000_000+int64(n), 0) }
	event := &corev1.Event{InvolvedObject: corev1.ObjectReference{UID: "pod"}, LastTimestamp: metav1.Time{Time: second(1)}}
	pod := scene(runs(0), "2").pods
	run := func(tl *timeline, at int) { tl.observe(pod[0], false, second(at)) }
	for _, c := range []struct {
		name string
		do   func(tl *timeline)
		want time.Time
	}{
		{"never, on a simulated node", func(tl *timeline) { run(tl, 3) }, time.Time{}},
		{"before the pod was seen", func(tl *timeline) { tl.pull(event, false, second(2)); run(tl, 3) }, second(2)},
		{"before the watch began", func(tl *timeline) { tl.pull(event, true, second(9)); run(tl, 3) }, second(1)},
		{"the last of several", func(tl *timeline) { tl.pull(event, false, second(1)); tl.pull(event, false, second(2)); run(tl, 3) }, second(2)},
		{"told late", func(tl *timeline) { run(tl, 3); tl.pull(event, false, second(4)) }, second(3)},
		{"again, after a restart", func(tl *timeline) { tl.pull(event, false, second(2)); run(tl, 3); tl.pull(event, false, second(9)) }, second(2)},
	} {
		t.Run(c.name, func(t *testing.T) {
			tl := newTimeline()
			c.do(tl)
			if got := tl.all(pod); len(got) != 1 || !got[0].Pulled.Equal(c.want) {
				t.Errorf("pulled %v, want %v", got, c.want)
			}
		})
	}
}
