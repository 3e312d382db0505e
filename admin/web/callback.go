package web

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/admin/text"
	"pipit/broker"
	"pipit/broker/limit"
	"pipit/httpapi/callback"
)

// attemptRow is a call that was made to a consumer.
type attemptRow struct {
	callback.Attempt
	Text string // the first KiB of the answer
	Took string
}

// attempts are the last calls of a consumer, none of one that comes for its messages.
func (cp consumerPages) attempts(c *object.Consumer) (rows []attemptRow, err error) {
	if c.Callback == nil {
		return nil, nil
	}
	list, err := callback.Attempts(cp.Callbacks, cp.Broker, c.ID)
	for _, a := range list {
		rows = append(rows, attemptRow{a, strings.ToValidUTF8(string(a.Answer), "\uFFFD"), took(a.Duration)})
	}
	return rows, err
}

// took is how long a call took: to the millisecond where that matters.
func took(d time.Duration) string {
	if d < 10*time.Second {
		return text.Number(d.Milliseconds()) + " ms"
	}
	return text.Duration(d)
}

// postTestCall sends the consumer a message that nobody has published, and tells what came of it.
func (cp consumerPages) postTestCall(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	return cp.onConsumer(w, r, p, func(p *consumerPage) *form { return p.TestCall }, func(c *object.Consumer, _ *form) (string, error) {
		if cp.Callbacks == nil {
			return "", &broker.Error{Code: broker.Unavailable, Message: "Messages are not sent by this process"}
		}
		gate.Patient(w, limit.MaxCallbackTimeout+time.Minute)
		done, err := cp.Callbacks.Test(r.Context(), c.ID)
		switch {
		case err != nil:
			return "", err
		case done.Error != "":
			return "The test call failed after " + took(done.Duration) + ": " + done.Error, nil
		}
		return "The test call was answered with " + strconv.Itoa(done.Status) + " after " + took(done.Duration), nil
	})
}

// failures are what a consumer was done with though it had not acknowledged it.
type failures struct {
	Total   uint64
	Reasons string // how many for each, in words
}

func failuresOf(f object.Failures) failures {
	var list []string
	for _, r := range []struct {
		n   uint64
		why string
	}{
		{f.MaxDeliveries, broker.ReasonMaxDeliveries}, {f.Rejected, broker.ReasonRejected},
		{f.Expired, broker.ReasonExpired}, {f.Overflow, broker.ReasonOverflow},
	} {
		if r.n > 0 {
			list = append(list, text.Number(r.n)+" "+reasons[r.why])
		}
	}
	return failures{f.MaxDeliveries + f.Rejected + f.Expired + f.Overflow, strings.Join(list, ", ")}
}
