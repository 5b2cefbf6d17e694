# docker build -t haldane:0.1.0 .
# Alpine's toolchain links statically, so that the image holds the program, certificates and the list of what it is made of, and nothing
# else: no shell, no package.
FROM rust:1.95.0-alpine AS build
RUN apk add --no-cache make python3
WORKDIR /src
COPY . .
RUN cargo build --profile dist --locked
RUN deploy/sbom > /haldane.cdx.json

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /haldane.cdx.json /haldane.cdx.json
COPY --from=build /src/target/dist/haldane /haldane
USER 65532:65532
ENTRYPOINT ["/haldane"]
