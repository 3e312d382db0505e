package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/admin/object"
	"pipit/admin/openapi"
	"pipit/broker/browse"
	"pipit/broker/limit"
	"pipit/broker/property"
)

// operation is a route of the API, or of the wire protocol, in words. Its scope is the route's; its parameters in the path and
// most of what it can be refused with follow from the path, the method and what it takes.
type operation struct {
	method, path string // of the API: below gate.V1
	id           string
	summary      string
	text         string
	parameters   []openapi.Parameter // beside those of the path
	body         string              // name of its schema; empty: none
	reply        string              // name of its schema; empty: none
	status       int                 // where it is not 200
	headers      []string            // of the reply
	refused      []refused           // beside what follows
}

// refused is a status that a request can be refused with, and the response of the components that says why.
type refused struct {
	status   int
	response string
}

// group is a tag, and its operations.
type group struct {
	tag, text  string
	operations []operation
}

// Parameters that many operations have are components, by these names.
var parameters = openapi.Map[openapi.Parameter]{
	{Name: "search", Value: inQuery("search", "What the names contain, in any case of letters.", anyText)},
	{Name: "desc", Value: inQuery("desc", "In the opposite order.", flags)},
	{Name: "limit", Value: inQuery("limit", "At most so many.", *openapi.Integer(1, gate.MaxLimit).With(openapi.Schema{Default: gate.DefaultLimit}))},
	{Name: "cursor", Value: inQuery("cursor", "The next of the page before, which had the same sort and order.", anyText)},
	{Name: "filterTopic", Value: inQuery("topic", "Those of this topic.", anyText)},
	{Name: "filterClient", Value: inQuery("client", "Those of this client, by username.", anyText)},
	{Name: "filterTemplate", Value: inQuery("template", "Those that this template has made.", anyText)},
	{Name: "dryRun", Value: inQuery("dry_run", "Do nothing but answer with the plan. No password is hashed for it: one that a client is given in plain counts as another one.", flags)},
	{Name: "ifMatch", Value: inHeader("If-Match", "ETag, or revision in quotes, that the object must have; * for any. Without it: any.", anyText)},
	{Name: "ifNoneMatch", Value: inHeader("If-None-Match", "ETag of the answer that the caller has.", anyText)},
	{Name: "subKey", Value: required(inHeader("X-Zato-PubSub-Key", "The consumer's sub_key.", someText))},
	{Name: "topicName", Value: inQuery("name", "Name of the topic, where the path has a - in its place: for what stands in between and decodes or merges %2F.", anyText)},
	{Name: "clientName", Value: inQuery("username", "Username of the client, where the path has a - in its place.", anyText)},
	{Name: "webhookName", Value: inQuery("name", "Name of the webhook, where the path has a - in its place.", anyText)},
	{Name: "administratorName", Value: inQuery("name", "Name of the administrator, where the path has a - in its place.", anyText)},
	{Name: "messageID", Value: inQuery("msg_id", "Id of the message, where the path has a - in its place.", anyText)},
	{Name: "format", Value: inQuery("format", "Of the reply, an error too.", *openapi.Enum("json", "xml").With(openapi.Schema{Default: "json"}))},
	{Name: "takeOver", Value: inQuery("take_over", "Who asks becomes the owner of the tokens that this one has made. Default: false, then they end, and so do those that these have made.", flags)},
}

// inPath are the parameters of paths, by the path up to them, each with what stands for it in the query, if anything does.
var inPath = map[string][]openapi.Parameter{
	"/clients/{client}":               {inRoute("client", "Username of the client.", anyText), shared("clientName")},
	"/topics/{topic}":                 {inRoute("topic", "Name of the topic, with %2F for each slash: %2Fcustomer%2Fcreated.", anyText), shared("topicName")},
	"/producers/{id}":                 {inRoute("id", "Id of the producer.", numbers)},
	"/consumers/{id}":                 {inRoute("id", "Id of the consumer.", numbers)},
	"/webhooks/{webhook}":             {inRoute("webhook", "Name of the webhook.", anyText), shared("webhookName")},
	"/messages/{topic}":               {inRoute("topic", "Name of the topic, with %2F for each slash.", anyText), shared("topicName")},
	"/messages/{topic}/{id}":          {inRoute("id", "Id of the message.", anyText), shared("messageID")},
	"/undo/{deletion}":                {inRoute("deletion", "Id of the deletion, as the answer to it has it.", anyText)},
	"/debug/pprof/{profile}":          {inRoute("profile", "Name of the profile: profile (of the CPU), trace, allocs, block, goroutine, heap, mutex or threadcreate.", anyText)},
	"/backups/{backup}":               {inRoute("backup", "Name of the backup.", anyText)},
	"/cluster/nodes/{node}":           {inRoute("node", "Name of the node.", anyText)},
	"/tokens/{id}":                    {inRoute("id", "Id of the token.", anyText)},
	"/sessions/{id}":                  {inRoute("id", "Id of the session.", anyText)},
	"/administrators/{administrator}": {inRoute("administrator", "Name of the administrator.", anyText), shared("administratorName")},
}

// matching are the parameters that say which messages are meant.
var matching = []openapi.Parameter{
	inQuery("topic", "Name of the topic. Without it and consumer: all topics.", anyText),
	inQuery("consumer", "Id of a consumer: only what it is not done with, with its states.", numbers),
	inQuery("state", "Those in this state. Without it: all but the delayed ones.", *openapi.Enum(browseStates...)),
	inQuery("priority", "Those of this priority.", *openapi.Integer(limit.MinPriority, limit.MaxPriority)),
	inQuery("since", "Those created then or later.", openapi.Schema{Type: "string", Format: "date-time"}),
	inQuery("until", "Those created before.", openapi.Schema{Type: "string", Format: "date-time"}),
	inQuery("text", "Those whose payload contains it, whatever the case of its letters.", openapi.Schema{Type: "string", MaxLength: new(browse.MaxText)}),
	inQuery("match_case", "Whether payloads have to contain the text byte by byte.", flags),
}

// groups are all operations of the API.
var groups = []group{
	{"clients", "Who may call.", objects{
		noun: "client", schema: "ClientAccount", sort: byAny(object.ClientSorts.Keys()), parts: object.ClientParts,
		list:     "All clients, a page at a time.",
		create:   "With a password, or with the hash of one.",
		get:      "With how many topics it may publish to, and how many queues it has.",
		edit:     "A new password is hashed, which takes a moment. The username is for good.",
		delete:   "The client's producers, consumers and webhooks go with it.",
		deletion: "How many producers, consumers, webhooks and messages a deletion would take along. Nothing is changed.",
	}.operations("/{client}")},
	{"topics", "What is published to.", objects{
		noun: "topic", schema: "Topic", sort: byAny(object.TopicSorts.Keys()), parts: object.TopicParts,
		filters:  []openapi.Parameter{shared("filterTemplate")},
		list:     "All topics and templates of topics, a page at a time.",
		create:   "It has neither producers nor consumers at first. With auto_create it is a template, whose name is a pattern.",
		get:      "With how much it has stored, and what was done in all.",
		edit:     "It holds for messages that are published from then on; of a template, for topics that it makes from then on. The name and auto_create are for good.",
		delete:   "The topic's producers, consumers, webhooks and messages go with it. The topics that a template has made stay.",
		deletion: "How many producers, consumers, webhooks and messages a deletion would take along. Nothing is changed.",
	}.operations("/{topic}")},
	{"producers", "Who may publish to what.", objects{
		noun: "producer", schema: "Producer", sort: byAny(object.ProducerSorts.Keys()), parts: object.ProducerParts,
		filters:  []openapi.Parameter{shared("filterTopic"), shared("filterClient")},
		list:     "All permissions to publish, a page at a time.",
		create:   "A client has one for a topic at most.",
		get:      "With when the client last published.",
		edit:     "Client and topic are for good: only is_active can be changed.",
		delete:   "The client may not publish to the topic any more.",
		deletion: "Nothing goes with a producer; the answer tells that it exists.",
	}.operations("/{id}")},
	{"consumers", "Queues.", append(objects{
		noun: "consumer", schema: "Consumer", sort: byAny(object.ConsumerSorts.Keys()), parts: object.ConsumerParts,
		filters:  []openapi.Parameter{shared("filterTopic"), shared("filterClient")},
		list:     "All queues, a page at a time.",
		create:   "A client may have several for a topic. The answer has the sub_key.",
		get:      "With what waits and what is in flight. The sub_key is answered to the scope write alone.",
		edit:     "Client, topic and sub_key cannot be changed by it.",
		delete:   "Its queue goes with it.",
		deletion: "How many messages a deletion would take along. Nothing is changed.",
	}.operations("/{id}"), []operation{
		{method: "GET", path: "/consumers/{id}/queues", id: "listQueues", summary: "What waits for a consumer, by topic",
			text:       "The fullest first. Of a consumer of a topic it is that one, of a consumer of a pattern each topic that matches.",
			parameters: []openapi.Parameter{shared("limit")}, reply: "Queues"},
		{method: "GET", path: "/consumers/{id}/why", id: "explainConsumer", summary: "Find what keeps messages from a consumer",
			text: "Whether its client, its topic and it itself are active, what waits, limits that are reached, when it last fetched, or how the calls to it went, and what was refused to it lately.", reply: "Why"},
		{method: "POST", path: "/consumers/{id}/rotate", id: "rotateSubKey", summary: "Give a consumer a new sub_key",
			text: "All that waits for it stays. The old sub_key is refused from then on, or at the end of an overlap.",
			parameters: []openapi.Parameter{shared("ifMatch"), inQuery("overlap", "How long the old sub_key stays valid, such as 1h or 24h: 0s to "+
				property.FormatDuration(limit.MaxOverlap)+". An older one is refused at once. Default: 0s.", anyText)}, reply: "Consumer", headers: []string{"ETag"}},
		{method: "POST", path: "/consumers/{id}/end-overlap", id: "endOverlap", summary: "Refuse the old sub_key of a consumer from now on",
			text:       "Before the overlap that the rotation gave it is over. Where there is no old one that is valid, the answer is 422.",
			parameters: []openapi.Parameter{shared("ifMatch")}, reply: "Consumer", headers: []string{"ETag"}, refused: []refused{{422, "Invalid"}}},
		{method: "POST", path: "/consumers/{id}/clear", id: "clearBacklog", summary: "Clear the backlog of a consumer",
			text: "The consumer is done with all that it has, in flight or not.", reply: "Affected"},
		{method: "POST", path: "/consumers/{id}/clear-in-flight", id: "clearInFlight", summary: "Clear what a consumer has in flight",
			text: "As if it had acknowledged it.", reply: "Affected"},
		{method: "POST", path: "/consumers/{id}/seek", id: "seekConsumer", summary: "Bring a consumer to another place of its topic",
			text:       "What the topic stores from there on waits again for it, what is before it is done; what is in flight behind the place stays so. More than max_depth allows is refused.",
			parameters: []openapi.Parameter{inQuery("dry_run", "Whether to tell alone how many messages would wait.", flags)},
			body:       "Seek", reply: "Sought", refused: []refused{{429, "Full"}}},
		{method: "POST", path: "/consumers/{id}/release", id: "releaseInFlight", summary: "Release what a consumer has in flight or put off",
			text: "It can be delivered again at once.", reply: "Affected"},
		{method: "GET", path: "/consumers/{id}/attempts", id: "listAttempts", summary: "The last calls to a consumer that is sent its messages",
			text: "The latest first, 100 at the most.", reply: "Attempts"},
		{method: "POST", path: "/consumers/{id}/test-call", id: "testCall", summary: "Make a test call to a consumer that is sent its messages",
			text: "It is sent a message that nobody has published, once, also while it is not active. Whether the call failed is in the answer.", reply: "Attempt",
			refused: []refused{{422, "Invalid"}, {503, "Unavailable"}}},
	}...)},
	{"webhooks", "What senders that know no topics call.", objects{
		noun: "webhook", schema: "Webhook", sort: byAny(object.WebhookSorts.Keys()), parts: object.WebhookParts,
		filters:  []openapi.Parameter{shared("filterTopic"), shared("filterClient")},
		list:     "All webhooks, a page at a time. None has its secret.",
		create:   "Calls go to /hook/ and its name from then on.",
		get:      "With how many calls were taken and refused since the start of the process. No answer has the secret, but for an export.",
		edit:     "A secret that is not given stays. The name is for good.",
		delete:   "Calls of it are answered with 404 from then on.",
		deletion: "Nothing goes with a webhook; the answer tells that it exists.",
	}.operations("/{webhook}")},
	{"messages", "What waits in them.", []operation{
		{method: "GET", path: "/messages", id: "listMessages", summary: "Browse messages",
			text: "Nothing is consumed by it: by priority, the highest first, and within it in the order of publishing; of several topics, one after another; delayed ones by when they are due.",
			parameters: append(slices.Clone(matching), []openapi.Parameter{
				inQuery("newest", "Whether the newest of each priority come first.", flags),
				shared("limit"),
				inQuery("cursor", "The next of the page before, which was asked for the same.", anyText),
				inQuery("payload", fmt.Sprintf("Bytes of each payload at most; with the limit at most %d in all. 0: none.", maxPayloadTotal),
					*openapi.Integer(0, maxPayloadEach).With(openapi.Schema{Default: defaultPayload})),
			}...), reply: "MessageList", refused: []refused{{404, "NotFound"}}},
		{method: "POST", path: "/messages", id: "actOnMessages", summary: "Do something to all messages that match",
			text: "At least one of topic, consumer, state, priority, since, until and text is needed. It goes on for 2 s at most; where something is left, next says where another request goes on. Copies are not copied again.",
			parameters: append([]openapi.Parameter{
				{Name: "action", In: "query", Required: true, Description: "What to do: delete them for all consumers, release them (for the consumer, where one is given), publish copies of them, or move dead letters back.", Schema: openapi.Enum(object.Acts...)},
				inQuery("dry_run", "Whether to count them alone.", flags),
				inQuery("next", "The next of the request before.", anyText),
			}, matching...), reply: "Acted", refused: []refused{{404, "NotFound"}, {429, "Full"}}},
		{method: "GET", path: "/traces", id: "listTraces", summary: "Find out what happened to messages, also when they are gone",
			text: "Who published them and how each consumer was done with them is kept without the payload, for as long as [history] of the configuration says. Of a server that was killed the last seconds may be missing.",
			parameters: []openapi.Parameter{
				inQuery("id", "Id of a message. Either it or correlation_id is needed.", anyText),
				inQuery("correlation_id", "What messages have as their correlation_id.", anyText),
				inQuery("topic", "What happened in this topic.", anyText),
			}, reply: "Traces", refused: []refused{{404, "NotFound"}}},
		{method: "GET", path: "/messages/{topic}/{id}", id: "getMessage", summary: "Get a message, and where it stands with each consumer",
			text: "Nothing is consumed by it.",
			parameters: []openapi.Parameter{inQuery("payload", "Bytes of the payload at most. Without it: all.",
				openapi.Schema{Type: "integer", Format: "int64", Minimum: new(int64(0))})}, reply: "MessageDetail"},
		{method: "DELETE", path: "/messages/{topic}/{id}", id: "deleteMessage", summary: "Delete a message",
			text: "For all consumers, also where it is in flight.", reply: "Affected"},
		{method: "GET", path: "/messages/{topic}/{id}/payload", id: "getPayload", summary: "Download the payload of a message",
			text: "Byte for byte, as a download.", reply: "bytes", headers: []string{"Content-Disposition"}},
		{method: "POST", path: "/messages/{topic}/{id}/release", id: "releaseMessage", summary: "Make a message deliverable at once",
			text:       "One that waits for its delay, or, for a consumer, one that it has put off or has in flight.",
			parameters: []openapi.Parameter{inQuery("consumer", "Id of the consumer that the message is released for. Without it: all.", numbers)}, reply: "Released"},
		{method: "POST", path: "/messages/{topic}/{id}/copy", id: "copyMessage", summary: "Publish a copy of a message",
			text:  "To the same topic, for all of its consumers, with an id of its own. Its producer is admin, and the name of who asks.",
			reply: "Published", status: http.StatusCreated, headers: []string{"Location"}, refused: []refused{{409, "Inactive"}, {429, "Full"}}},
		{method: "POST", path: "/topics/{topic}/messages", id: "publishMessage", summary: "Publish a message",
			text: "It is on disk for every consumer when the answer comes. Its producer is admin, and the name of who asks.",
			body: "Publication", reply: "Published", status: http.StatusCreated, headers: []string{"Location"},
			refused: []refused{{409, "Inactive"}, {429, "Full"}}},
		{method: "POST", path: "/topics/{topic}/messages/delete", id: "deleteMessages", summary: "Delete messages",
			text: "All that there are of them, in one commit.", body: "MessageIDs", reply: "Affected"},
		{method: "POST", path: "/topics/{topic}/messages/redrive", id: "redriveMessages", summary: "Move dead letters back to the consumers for which they failed",
			text: "Each is deleted from the dead-letter topic and put at the end of the backlog of its consumer, of no other one, in one commit; many take several. What had no room, or no consumer any more, stays: the answer is an error then, and says how many were moved.",
			body: "Redrive", reply: "Redriven", refused: []refused{{429, "Full"}}},
	}},
	{"stats", "Figures.", []operation{
		{method: "GET", path: "/stats", id: "getStats", summary: "Get the figures of the whole broker",
			text: "What there is and what was done since the start of the process.", reply: "Stats"},
		{method: "GET", path: "/stats/history", id: "getHistory", summary: "Get the rates of the last hour or day",
			text: "A step is 60 s in an hour and 10 min in a day; the last one is under way.",
			parameters: []openapi.Parameter{
				inQuery("range", "How far back.", *openapi.Enum(monitor.RangeHour, monitor.RangeDay).With(openapi.Schema{Default: monitor.RangeHour})),
				inQuery("topic", "Of this topic. Without it: of all.", anyText),
			}, reply: "History", refused: []refused{{404, "NotFound"}}},
		{method: "GET", path: "/refusals", id: "listRefusals", summary: "List the requests of clients that were refused last",
			text: "The newest first. The last 1,000 are kept, in memory; where there are more, those go first of which one client or network has most.",
			parameters: append([]openapi.Parameter{shared("filterClient"), shared("filterTopic"),
				inQuery("consumer", "Those by the sub_key of the consumer of this id, and those of its client that were about receiving from its topic with an unknown one.", numbers),
				inQuery("status", "Those with this status.", *openapi.Integer(400, 599))}, paged...), reply: "RefusalList"},
	}},
	{"definitions", "Export and import.", []operation{
		{method: "POST", path: "/connect", id: "connect", summary: "Connect two systems",
			text: "A topic, a client that publishes to it and one that receives from it, in one commit. What exists stays as it is, and is answered; what does not is created, clients with a password that is in this answer alone.",
			body: "Connection", reply: "Connected"},
		{method: "GET", path: "/export", id: "exportDefinitions", summary: "Export all definitions",
			text:  "It takes the scope write, because password hashes and sub_keys are among them. The same objects give the same bytes.",
			reply: "Definitions", headers: []string{"Content-Disposition"}, refused: []refused{{507, "DiskFull"}}},
		{method: "POST", path: "/import", id: "importDefinitions", summary: "Import definitions",
			text:       "Objects are created or brought to what the document says, all or nothing; what exists only here is left alone. To import a document again changes nothing. A document has at most 100,000 objects in all, and an object at most 1,000 values. There is one import at a time; meanwhile another is refused as unavailable.",
			parameters: []openapi.Parameter{shared("dryRun")}, body: "Definitions", reply: "Import"},
		{method: "POST", path: "/import/zato", id: "importZato", summary: "Import lists of Zato",
			text: "Takes what the services zato.pubsub.topics.get-list, zato.pubsub.producers.get-list and zato.pubsub.consumers.get-list of Zato 2.0 answer. Security definitions that are no clients here are created inactive and with a password that nobody knows. The max_depth of a topic, which in Zato counts only what was not moved to consumers yet, is at least that of each of its consumers. A consumer that is created has an ack_timeout of 24 hours, as Zato had none. The answer's warnings say so. The limits are those of importDefinitions.",
			parameters: []openapi.Parameter{
				shared("dryRun"),
				inQuery("list", "What the body is the list of.", *openapi.Enum(object.ZatoTopics, object.ZatoProducers, object.ZatoConsumers)),
				inQuery("topic", "Name of the topic that a list of producers or consumers is of.", anyText),
			}, body: "ZatoLists", reply: "Import"},
	}},
	{"undo", "Deletions that can be taken back.", []operation{
		{method: "GET", path: "/undo", id: "listDeletions", summary: "List the deletions that can be taken back",
			text: "The latest first: the last 20 of the last ten minutes, of this process.", parameters: []openapi.Parameter{shared("limit")}, reply: "Deletions"},
		{method: "POST", path: "/undo/{deletion}", id: "undoDeletion", summary: "Take back a deletion",
			text:  "What was deleted, and what went with it, is as it was defined, with the same names, passwords, keys and secrets, and new ids. Messages do not come back. It is all or nothing: what exists again is in the way.",
			reply: "Restored", refused: []refused{{409, "Exists"}}},
	}},
	{"backups", "Copies of everything, made while the broker runs.", []operation{
		{method: "GET", path: "/backups", id: "listBackups", summary: "List the backups that the server keeps",
			text: "The newest first, a page at a time.", parameters: paged, reply: "BackupList"},
		{method: "POST", path: "/backups", id: "makeBackup", summary: "Make a backup that the server keeps",
			text:  "All that was answered before is in it; publishing goes on meanwhile. The answer comes when it is whole, after another one that is being made. The oldest leave where there are more than are kept.",
			reply: "Backup", status: http.StatusCreated, headers: []string{"Location"}},
		{method: "POST", path: "/backups/stream", id: "streamBackup", summary: "Make a backup and download it",
			text:  "The server does not keep it. The answer begins when it is whole. It ends in pipitsum and the SHA-256 of all bytes before that.",
			reply: "bytes", headers: []string{"Content-Disposition", "Content-Length"}},
		{method: "GET", path: "/backups/{backup}", id: "downloadBackup", summary: "Download a backup that the server keeps",
			text: "It has all messages and all secrets. It ends in pipitsum and the SHA-256 of all bytes before that.", reply: "bytes", headers: []string{"Content-Disposition", "Content-Length"}},
		{method: "DELETE", path: "/backups/{backup}", id: "deleteBackup", summary: "Delete a backup that the server keeps",
			text: "The others stay.", status: http.StatusNoContent},
	}},
	{"alerts", "Who is told of what needs attention.", []operation{
		{method: "GET", path: "/alerts", id: "listAlerts", summary: "List what is firing, who is told of it, and the last messages",
			text: "Who is told is set in the configuration of the server; where nobody is, nothing is known to be firing.", reply: "Alerts"},
		{method: "POST", path: "/alerts/test", id: "testAlerts", summary: "Send each receiver a message that is of nothing",
			text: "The answer has what each receiver answered, and comes within 45 seconds. A URL gets a second message, which says that it is over. There is one test at a time; meanwhile it is refused as unavailable.", reply: "AlertTest", refused: []refused{{409, "NobodyToAlert"}}},
	}},
	{"cluster", "The cluster whose leader answers: any node passes the request on to it. Where the server is no node of one it is not found.", []operation{
		{method: "GET", path: "/cluster", id: "getCluster", summary: "List the nodes, who leads, and how far the others are behind",
			text: "All nodes are asked, which takes a second at most.", reply: "ClusterStatus", refused: []refused{{404, "NotFound"}}},
		{method: "POST", path: "/cluster/verify", id: "verifyCluster", summary: "Compare all copies",
			text: "By a digest of what each has at one moment, while all goes on; it reads everything. A node that did not answer has none.", reply: "ClusterStatus", refused: []refused{{404, "NotFound"}}},
		{method: "POST", path: "/cluster/transfer", id: "transferCluster", summary: "Have another node lead",
			text: "It begins a moment after the answer, and takes less than a second as a rule. It is refused as unavailable where the node has not caught up.",
			body: "NewLeader", reply: "Heir", status: http.StatusAccepted, refused: []refused{{404, "NotFound"}}},
		{method: "POST", path: "/cluster/nodes", id: "joinCluster", summary: "Add a node that the configuration does not name",
			text: "It has to run, with neither a database nor a directory of before. It has a vote when it has caught up.",
			body: "NewNode", reply: "ClusterStatus", status: http.StatusCreated, refused: []refused{{404, "NotFound"}}},
		{method: "POST", path: "/cluster/nodes/{node}/replace", id: "replaceNode", summary: "Let a node begin anew that has lost its disk",
			text:  "It is taken out, and added again, at once where it runs with neither a database nor a directory, else when it comes and the configuration of the others names it. One that has what it had is refused.",
			reply: "ClusterStatus", refused: []refused{{409, "Leads"}}},
		{method: "DELETE", path: "/cluster/nodes/{node}", id: "leaveCluster", summary: "Take a node out",
			text:   "One that leads is refused: have another one lead first. One that the configuration of the others names is added again when it comes with an empty directory.",
			status: http.StatusNoContent, refused: []refused{{409, "Leads"}}},
	}},
	{"tokens", "Credentials of scripts.", []operation{
		{method: "GET", path: "/tokens", id: "listTokens", summary: "List tokens",
			text: "By name, a page at a time. The secrets are not among it.", parameters: paged, reply: "TokenList"},
		{method: "POST", path: "/tokens", id: "createToken", summary: "Create a token",
			text: "The secret is in this answer alone. The token ends with the administrator or token that has made it, and lasts no longer than such a token.",
			body: "NewToken", reply: "Token", status: http.StatusCreated, refused: []refused{{409, "Exists"}}},
		{method: "DELETE", path: "/tokens/{id}", id: "deleteToken", summary: "Delete a token",
			text:       "It is refused from then on. Tokens that it has made end as well, or are taken over.",
			parameters: []openapi.Parameter{shared("takeOver")}, status: http.StatusNoContent},
	}},
	{"administrators", "Who may sign in.", []operation{
		{method: "GET", path: "/administrators", id: "listAdministrators", summary: "List administrators",
			text: "By name, a page at a time.", parameters: paged, reply: "AdministratorList"},
		{method: "POST", path: "/administrators", id: "createAdministrator", summary: "Create an administrator",
			text: "It can sign in and do everything. In a session this takes current_password.",
			body: "NewAdministrator", reply: "Administrator", status: http.StatusCreated, headers: []string{"Location"}, refused: []refused{{409, "Exists"}}},
		{method: "PATCH", path: "/administrators/{administrator}", id: "editAdministrator", summary: "Set the password of an administrator",
			text: "The administrator's other sessions end. In a session this takes current_password.",
			body: "NewPassword", reply: "Administrator"},
		{method: "DELETE", path: "/administrators/{administrator}", id: "deleteAdministrator", summary: "Delete an administrator",
			text:       "The last one stays. The sessions end. Tokens that the administrator has made end as well, or are taken over.",
			parameters: []openapi.Parameter{shared("takeOver")}, status: http.StatusNoContent, refused: []refused{{409, "LastAdministrator"}}},
	}},
	{"sessions", "Who has signed in.", []operation{
		{method: "GET", path: "/sessions", id: "listSessions", summary: "List sessions",
			text: "The last used first, a page at a time.", parameters: paged, reply: "SessionList"},
		{method: "DELETE", path: "/sessions", id: "endSessions", summary: "End sessions",
			text:       "Who was signed in by them has to sign in again.",
			parameters: []openapi.Parameter{inQuery("administrator", "Those of this administrator. Without it: all.", anyText)},
			reply:      "Ended", refused: []refused{{404, "NotFound"}}},
		{method: "DELETE", path: "/sessions/{id}", id: "endSession", summary: "End a session",
			text: "Who was signed in by it has to sign in again.", status: http.StatusNoContent},
	}},
	{"system", "The program.", []operation{
		{method: "GET", path: "/audit", id: "listAudit", summary: "List the audit log",
			text:       "Who changed what and when, the newest first. Of each kind the newest 10,000 entries are kept; equal ones within an hour become one, at the latest a minute later.",
			parameters: append([]openapi.Parameter{inQuery("kind", "Those of this kind alone.", *openapi.Ref("EntryKind"))}, paged...), reply: "EntryList"},
		{method: "GET", path: "/system", id: "getSystem", summary: "Get the version, the configuration in force and the like",
			text: "Its version, its file, and the configuration in force with secrets masked.", reply: "SystemInfo"},
		{method: "GET", path: "/debug", id: "getDebug", summary: "Download what helps to find a fault",
			text:  "A ZIP file of system.json, stats.json, database.json (both meta pages of the file, its format and log, and what is wrong with them), log.jsonl (the last 1,000 lines of the log), goroutines.txt and build.txt, without secrets. It is off, and not found, unless debug is true in [admin].",
			reply: "bytes", headers: []string{"Content-Disposition", "Content-Length"}, refused: []refused{{404, "NotFound"}}},
		{method: "GET", path: "/debug/pprof/{profile}", id: "getProfile", summary: "Get a profile of the process",
			text: "For go tool pprof and go tool trace. It is off, and not found, unless debug is true in [admin].",
			parameters: []openapi.Parameter{
				inQuery("seconds", "How long it lasts; profile lasts 30 otherwise, trace 1, and others are of the moment.", *openapi.Integer(1, 60)),
				inQuery("debug", "1 and 2: as text, for people.", *openapi.Integer(0, 2)),
			}, reply: "bytes", refused: []refused{{404, "NotFound"}}},
		{method: "POST", path: "/database/compact", id: "compactDatabase", summary: "Give back to the disk what is free in the database file",
			text:  "What is in use is written to another file, which takes the place of the old one; publishing goes on meanwhile. The answer comes when that is done; who leaves before does not end it. It is refused as unavailable while it goes on already, and where the disk has no room for a second file of what is in use.",
			reply: "Compacted"},
		{method: "GET", path: "/openapi.json", id: "getOpenAPI", summary: "Get this document", text: "What you are reading.",
			parameters: []openapi.Parameter{shared("ifNoneMatch")}, reply: "object", headers: []string{"ETag"}},
	}},
}

var paged = []openapi.Parameter{shared("limit"), shared("cursor")}

// objects are the texts of the six operations of a kind of objects.
type objects struct {
	noun, schema                              string
	sort                                      openapi.Parameter
	parts                                     []string
	filters                                   []openapi.Parameter
	list, create, get, edit, delete, deletion string
}

func (n objects) operations(parameter string) []operation {
	all, name := "/"+n.noun+"s", strings.ToUpper(n.noun[:1])+n.noun[1:]
	one := all + parameter
	return []operation{
		{method: "GET", path: all, id: "list" + name + "s", summary: "List " + n.noun + "s", text: n.list,
			parameters: slices.Concat([]openapi.Parameter{shared("search"), inQuery("part", "Those of this part: "+tellParts(n.parts)+".", *openapi.Enum(n.parts...)), n.sort, shared("desc")}, paged, n.filters), reply: name + "List"},
		{method: "POST", path: all, id: "create" + name, summary: "Create a " + n.noun, text: n.create,
			body: "New" + n.schema, reply: n.schema, status: http.StatusCreated, headers: []string{"ETag", "Location"}, refused: []refused{{409, "Exists"}}},
		{method: "GET", path: one, id: "get" + name, summary: "Get a " + n.noun, text: n.get,
			parameters: []openapi.Parameter{shared("ifNoneMatch")}, reply: n.schema, headers: []string{"ETag"}},
		{method: "PATCH", path: one, id: "edit" + name, summary: "Edit a " + n.noun, text: n.edit,
			parameters: []openapi.Parameter{shared("ifMatch")}, body: name + "Patch", reply: n.schema, headers: []string{"ETag"}},
		{method: "DELETE", path: one, id: "delete" + name, summary: "Delete a " + n.noun, text: n.delete,
			parameters: []openapi.Parameter{shared("ifMatch")}, reply: "Gone"},
		{method: "GET", path: one + "/deletion", id: "get" + name + "Deletion", summary: "Tell what would go with a " + n.noun, text: n.deletion, reply: "Deleted"},
	}
}

// byAny is the parameter that says what a list is sorted by.
func byAny(keys []string) openapi.Parameter {
	return inQuery("sort", "What to sort by.", *openapi.Enum(keys...).With(openapi.Schema{Default: keys[0]}))
}

// partTexts say what is in a part of a list.
var partTexts = map[string]string{
	"messages": "those with messages",
	"full":     "those with as good as no room for more",
	"away":     "those with messages whose client has not come for them",
	"inactive": "those that are not active",
	"unseen":   "those that were never seen",
}

func tellParts(keys []string) string {
	texts := make([]string, len(keys))
	for i, key := range keys {
		texts[i] = key + " is " + partTexts[key]
	}
	return strings.Join(texts, ", ")
}

func inQuery(name, text string, s openapi.Schema) openapi.Parameter {
	return openapi.Parameter{Name: name, In: "query", Description: text, Schema: &s}
}

func inHeader(name, text string, s openapi.Schema) openapi.Parameter {
	return openapi.Parameter{Name: name, In: "header", Description: text, Schema: &s}
}

func inRoute(name, text string, s openapi.Schema) openapi.Parameter {
	return openapi.Parameter{Name: name, In: "path", Required: true, Description: text, Schema: &s}
}

func required(p openapi.Parameter) openapi.Parameter {
	p.Required = true
	return p
}

// shared refers to a parameter of the components.
func shared(name string) openapi.Parameter {
	return openapi.Parameter{Ref: "#/components/parameters/" + name}
}
