package monitor

import (
	"fmt"

	"pipit/admin/text"
	"pipit/broker"
	"pipit/broker/change"
)

// refusals are how many calls of a webhook were refused for their signature, at the end of each minute of the last hour and
// at its beginning, the oldest first.
type refusals []uint64

// sampleWebhooks is a minute's step of the webhooks of which calls were refused. The caller holds mu.
func (m *Monitor) sampleWebhooks() {
	seen := map[string]refusals{}
	for _, w := range m.b.Webhooks() {
		if w.Signature == 0 {
			continue
		}
		list := m.refused[w.Name]
		if list == nil {
			list = refusals{0} // a minute ago there were none
		}
		list = append(list, w.Signature)
		seen[w.Name] = list[max(0, len(list)-hourSlots):]
	}
	m.refused = seen
}

// refusedLately returns how many calls were refused in the last hour, by webhook: of those that had any. The caller does
// not hold mu.
func (m *Monitor) refusedLately(webhooks []broker.WebhookInfo) map[string]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := map[string]int64{}
	for i := range webhooks {
		before := uint64(0)
		if sampled := m.refused[webhooks[i].Name]; sampled != nil {
			before = sampled[0]
		}
		if n := since(webhooks[i].Signature, before); n > 0 {
			list[webhooks[i].Name] = int64(n)
		}
	}
	return list
}

// webhooks finds webhooks that were called by who could not show that it is their sender.
func (n *notices) webhooks(webhooks []broker.WebhookInfo, refused map[string]int64) {
	for i := range webhooks {
		name := webhooks[i].Name
		if calls := refused[name]; calls > 0 {
			n.add(codeWebhook, fmt.Sprintf("%s of webhook %s in the last hour could not be verified: another secret, or another sender", text.Count(calls, "call", "calls"), name),
				"/admin/webhooks/"+text.Segment(name), string(change.Webhook), name)
		}
	}
}
