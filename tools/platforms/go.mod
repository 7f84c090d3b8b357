module talosmake/tools/platforms

go 1.26.5

require github.com/siderolabs/talos/pkg/machinery v1.14.1

require github.com/blang/semver/v4 v4.0.0 // indirect
