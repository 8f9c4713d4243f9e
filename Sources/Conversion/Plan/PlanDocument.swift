public import ByteIO
internal import Checkpoints
internal import Quantization
internal import Tensors

extension ConversionPlan {
  /// The plan as one JSON document: what `--dry-run --json` prints.
  public var document: JSONValue {
    [
      "schema": "llama-convert-plan/1",
      "plan_sha256": .string(digest),
      "to": .string(options.target.description),
      "lossless": .bool(isLossless),
      "input_bytes": .number(JSONNumber(inputByteCount)),
      "output_bytes": .number(JSONNumber(outputByteCount)),
      "peak_memory_bytes": .number(JSONNumber(peakMemory)),
      "disk_bytes": .number(JSONNumber(outputByteCount + Self.spareBytes)),
      "files": .array(
        output.files.map { ["name": .string($0.name), "bytes": .number(JSONNumber($0.byteCount))] }),
      "carried_over": .array(sidecars.map { .string($0.name) }),
      "not_carried_over": .array(leftBehind.map { .string($0) }),
      "warnings": .array(warnings.map { .string($0) }),
      "tensor_parallel_sizes": serving.map { .array($0.sizes.map { .number(JSONNumber($0)) }) } ?? .null,
      "types": options.types?.document ?? .null,
      "tensors": .array(tensorEntries),
    ]
  }

  /// SHA-256 of everything that decides the output's bytes.
  public var digest: String {
    if let plannedDigest { return plannedDigest }
    let decisive: JSONValue = [
      "tool": .string(Toolkit.version),
      "to": .string(options.target.description),
      "importance_matrix": options.importance.map { .string($0.sha256) } ?? .null,
      "files": .array(
        output.files.map { ["name": .string($0.name), "bytes": .number(JSONNumber($0.byteCount))] }),
      "headers_sha256": .string(output.headerDigest),
      "documents": .array(
        documents.map { ["name": .string($0.name), "sha256": .string(SHA256Sum.hexadecimal(of: $0.bytes))] }),
      "tensors": .array(tensorEntries),
    ]
    return SHA256Sum.hexadecimal(of: Array(decisive.serialized(.compact).utf8))
  }

  private var tensorEntries: [JSONValue] {
    steps.map { step in
      var entry = JSONObject()
      entry["name"] = .string(step.weight.name)
      entry["operation"] = .string(step.operation.description)
      entry["from"] = .array(step.rows.storedTensors.map { .string("\($0.tensor.name) \($0.tensor.elementType)") })
      entry["to"] = .string(step.weight.elementType.rawValue)
      entry["shape"] = .array(step.weight.shape.dimensions.map { .number(JSONNumber($0)) })
      let kinds = [("weight", step.weight)] + (step.scale.map { [("scale", $0)] } ?? [])
      let others = step.companions.map { companion in
        // An adapter's factors end in `.weight` like the weight itself.
        let parts = companion.tensor.name.split(separator: ".").map(String.init)
        return (
          parts.contains("adaptor") ? parts.suffix(3).dropLast().joined(separator: ".") : parts.last ?? "",
          companion.tensor
        )
      }
      for (key, tensor) in kinds + others {
        let places = output.places(of: tensor.name).map { place -> JSONValue in
          [
            "file": .string(place.file), "offset": place.offset.map { .number(JSONNumber($0)) } ?? .null,
            "bytes": .number(JSONNumber(place.byteCount)),
          ]
        }
        // One object where a tensor is in one piece, a list where it is split over shards.
        entry[key] = places.count == 1 ? places[0] : .array(places)
      }
      return .object(entry)
    }
  }

  /// The plan for a person.
  public var summary: String {
    let operations = Dictionary(grouping: steps, by: \.operation.description)
    var lines = ["would write   \(outputPath)"]
    for (operation, steps) in operations.sorted(by: { $0.key < $1.key }) {
      lines.append("  \(operation): \(steps.count) tensors")
    }
    if let types = options.types {
      lines.append("types         \(types.line)")
      lines += types.lines.map { "  " + $0 }
    }
    for file in output.files { lines.append("  \(file.name): \(ByteSize(file.byteCount))") }
    lines.append("reads         \(ByteSize(inputByteCount))")
    lines.append("writes        \(ByteSize(outputByteCount))")
    lines.append("peak memory   about \(ByteSize(peakMemory))")
    if let serving {
      lines.append(
        "serves at     tensor-parallel \(serving.sizes.map(String.init).joined(separator: ", "))"
          + (serving.limit.map { " (not at \($0))" } ?? ""))
    }
    if !sidecars.isEmpty { lines.append("carried over  \(sidecars.map(\.name).joined(separator: ", "))") }
    if !leftBehind.isEmpty { lines.append("left behind   \(leftBehind.joined(separator: ", "))") }
    lines.append("plan          \(digest)")
    return lines.joined(separator: "\n") + "\n"
  }
}
