module pipit/clients/go

go 1.22
