internal import ByteIO
internal import Checkpoints

/// All that has to agree for work to be gone on with, or done in parts: the tool, the plan, the options and the input files.
struct ConversionIdentity: Sendable, Equatable {
  let document: JSONValue
  static let schema = "llama-convert-journal/1"

  /// - Parameter parts: how many processes share the work; nil for one that does it alone.
  init(_ plan: ConversionPlan, parts: Int?) throws {
    let input = plan.input
    document = [
      "schema": .string(Self.schema),
      "tool": ["name": .string(Toolkit.name), "version": .string(Toolkit.version)],
      "plan_sha256": .string(plan.digest),
      "options": ConversionRecord.options(plan.options),
      "file_sums": .bool(plan.options.sumsFiles),
      "calibration": plan.calibrationFacts ?? .null,
      "tiles": .number(JSONNumber(TileSchedule(plan.steps).tileCount)),
      "parts": parts.map { .number(JSONNumber($0)) } ?? .null,
      "inputs": .array(try input.readFileNames.map { try Self.entry($0, input.directory + "/" + $0) }),
    ]
  }

  init(document: JSONValue) { self.document = document }

  var parts: Int? { document["parts"]?.integer }

  /// Without what is found out on the way: whether a command is that which began the work.
  func isSameCommand(as other: Self) -> Bool {
    func reduced(_ identity: Self) -> JSONObject? {
      var object = identity.document.object
      object?["calibration"] = nil
      object?["parts"] = nil
      return object
    }
    return reduced(self) == reduced(other)
  }

  /// Bytes at the beginning and at the end of a file that are part of its identity: headers and directories are there.
  private static let endByteCount = 64 << 10

  /// A file is the same when name, size, time of the last change and both its ends are. That is no proof of its content;
  /// the self-check compares output and input as they are then.
  private static func entry(_ name: String, _ path: String) throws -> JSONValue {
    let file = try ReadableFile(path: path)
    let facts = try FileFacts(path: path)
    var ends = try file.bytes(at: 0, upTo: endByteCount)
    ends += try file.bytes(at: max(UInt64(endByteCount), file.byteCount) - UInt64(endByteCount), upTo: endByteCount)
    return [
      "name": .string(name), "bytes": .number(JSONNumber(file.byteCount)),
      "modified_ns": .number(JSONNumber(facts.modified)), "ends_sha256": .string(SHA256Sum.hexadecimal(of: ends)),
    ]
  }
}
