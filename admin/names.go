package admin

import (
	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/admin/text"
)

// What the rooms beneath have, by the names that it has in this package.
type (
	query       = gate.Query
	list[T any] = gate.List[T]
	route       = gate.Route
	params      = gate.Params
	actor       = gate.Actor
	Entry       = audit.Entry
	Time        = gate.Time
	Duration    = gate.Duration
	Problem     = gate.Problem
	FieldError  = gate.FieldError
)

const (
	public       = gate.Public
	read         = gate.Read
	write        = gate.Write
	admin        = gate.Admin
	rootPath     = gate.RootPath
	v1           = gate.V1
	defaultLimit = gate.DefaultLimit
	maxLimit     = gate.MaxLimit
)

var (
	timeOf  = gate.TimeOf
	refuse  = gate.Refuse
	actorOf = gate.ActorOf
	isRead  = gate.IsRead
	isLocal = gate.IsLocal
	marshal = gate.Marshal

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
