public import ByteIO

extension ServingEstimate {
  /// Schema `llama-serve/1`. Sizes are bytes on one device.
  public var document: JSONValue {
    [
      "schema": "llama-serve/1",
      "path": .string(path),
      "gpu_memory_bytes": request.gpuMemory.map { .number(JSONNumber($0)) } ?? .null,
      "gpu_memory_utilization": .number(JSONNumber(request.utilization)),
      "kv_precision": .string(request.cachePrecision.rawValue),
      "required_context": .number(JSONNumber(requiredContext)),
      "fits": fittingSizes.map { .bool(!$0.isEmpty) } ?? .null,
      "fitting_sizes": fittingSizes.map { .array($0.map { .number(JSONNumber($0)) }) } ?? .null,
      "sizes": .array(sizes.map { document($0) }),
    ]
  }

  private func document(_ size: Size) -> JSONValue {
    func number(_ value: Int) -> JSONValue { .number(JSONNumber(value)) }
    return [
      "tensor_parallel": number(size.tensorParallel),
      "obstacle": size.obstacle.map { .string($0) } ?? .null,
      "weight_bytes": number(size.weightBytes),
      "activation_bytes": number(size.activationBytes),
      "cache_budget_bytes": size.cacheBudget.map { number($0) } ?? .null,
      "cache_bytes_per_token": [
        "bf16": number(size.cachedElements * 2), "fp8": number(size.cachedElements),
      ],
      "contexts": .array(
        contexts.map { context in
          [
            "context": number(context), "cache_bytes_bf16": number(size.cacheBytes(context: context, .bf16)),
            "cache_bytes_fp8": number(size.cacheBytes(context: context, .fp8)),
            "sequences": size.sequences(context: context, request.cachePrecision).map { number($0) } ?? .null,
          ]
        }),
    ]
  }

  /// Tables for people: memory by size, the cache by context, sequences at the same time, and the answer.
  public var summary: String {
    var lines = [path, "", "Memory on each GPU"]
    var rows = [["GPUs", "weights", "activations", "cache of 1 token, 16 bits", "fp8"]]
    for size in sizes {
      rows.append([
        "\(size.tensorParallel)", Self.bytes(size.weightBytes), Self.bytes(size.activationBytes),
        Self.bytes(size.cachedElements * 2), Self.bytes(size.cachedElements),
      ])
    }
    lines += Self.table(rows)
    lines += sizes.compactMap { size in size.obstacle.map { "  \(size.tensorParallel) GPUs: not possible, \($0)" } }
    lines += ["", "Key/value cache of one sequence on each GPU, 16 bits / fp8"]
    lines += Self.table(
      [["GPUs"] + contexts.map { "\($0)" }]
        + possible.map { size in
          ["\(size.tensorParallel)"]
            + contexts.map {
              Self.bytes(size.cacheBytes(context: $0, .bf16)) + " / " + Self.bytes(size.cacheBytes(context: $0, .fp8))
            }
        })
    guard let memory = request.gpuMemory else { return lines.joined(separator: "\n") + "\n" }
    lines += [
      "",
      "Sequences at the same time on GPUs of \(ByteSize(memory)), \(request.utilization) of it in use, cache in \(request.cachePrecision.rawValue)",
    ]
    lines += Self.table(
      [["GPUs", "for the cache"] + contexts.map { "\($0)" }]
        + possible.map { size in
          let budget = size.cacheBudget ?? 0
          return ["\(size.tensorParallel)", budget > 0 ? Self.bytes(budget) : "none"]
            + contexts.map { "\(size.sequences(context: $0, request.cachePrecision) ?? 0)" }
        })
    lines += ["", answer]
    return lines.joined(separator: "\n") + "\n"
  }

  private var possible: [Size] { sizes.filter { $0.obstacle == nil } }

  private var answer: String {
    let fitting = fittingSizes ?? []
    guard let smallest = fitting.first else {
      if possible.isEmpty, let obstacle = sizes.compactMap(\.obstacle).first { return "no: \(obstacle)" }
      let asked =
        request.tensorParallel.map { "on \($0) GPU\($0 == 1 ? "" : "s")" }
        ?? "on up to \(sizes.last?.tensorParallel ?? 1) GPUs"
      return "no: weights, activations and one sequence of \(requiredContext) tokens do not fit \(asked)"
    }
    let count = possible.first { $0.tensorParallel == smallest }?.sequences(
      context: requiredContext, request.cachePrecision)
    let (devices, sequences) = (smallest == 1 ? "1 GPU holds" : "\(smallest) GPUs hold", count ?? 0)
    return "yes: \(devices) \(sequences) sequence\(sequences == 1 ? "" : "s") of \(requiredContext) tokens"
  }

  private static func bytes(_ count: Int) -> String { ByteSize(UInt64(max(0, count))).description }

  /// Columns set flush right, two spaces between them.
  private static func table(_ rows: [[String]]) -> [String] {
    let widths = (rows.first ?? []).indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      "  "
        + zip(row, widths).map { String(repeating: " ", count: $1 - $0.count) + $0 }.joined(separator: "  ")
    }
  }
}
