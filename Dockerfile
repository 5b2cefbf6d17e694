# docker build -t haldane:0.1.0 .
FROM rust:1-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --profile dist --locked

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/dist/haldane /usr/local/bin/haldane
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/haldane"]
