package admin

import (
	"pipit/admin/gate"
	"pipit/admin/text"
)

// What the rooms beneath have, by the names that they have in this package.
type (
	query       = gate.Query
	list[T any] = gate.List[T]
	route       = gate.Route
	params      = gate.Params
	actor       = gate.Actor
)

const (
	public   = gate.Public
	read     = gate.Read
	write    = gate.Write
	admin    = gate.Admin
	rootPath = gate.RootPath
	v1       = gate.V1
)

var (
	refuse  = gate.Refuse
	actorOf = gate.ActorOf
	isRead  = gate.IsRead
	isLocal = gate.IsLocal

	num          = text.Number
	size         = text.Size
	duration     = text.Duration
	rate         = text.Rate
	percent      = text.Percent
	count        = text.Count
	waitText     = text.Wait
	wholeSeconds = text.WholeSeconds
	segment      = text.Segment
	unsegment    = text.Unsegment
	showHidden   = text.ShowHidden
	shownName    = text.Shown
)
