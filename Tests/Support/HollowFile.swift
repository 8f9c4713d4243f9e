internal import ByteIO
public import Foundation

/// A safetensors file of BF16 tensors that is a header before a hole: of any size, for what reads headers only.
public enum HollowFile {
  public static func write(_ shapes: [(name: String, shape: [Int])], to file: URL) throws {
    var members: [(key: String, value: JSONValue)] = [("__metadata__", ["format": "pt"])]
    var end = 0
    for (name, shape) in shapes {
      let start = end
      end += 2 * shape.reduce(1, *)
      func numbers(_ list: [Int]) -> JSONValue { .array(list.map { .number(JSONNumber($0)) }) }
      members.append((name, ["dtype": "BF16", "shape": numbers(shape), "data_offsets": numbers([start, end])]))
    }
    let header = Array(JSONValue.object(JSONObject(members)).serialized(.compact).utf8)
    let length = (0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) }
    try Data(length + header).write(to: file)
    let handle = try FileHandle(forWritingTo: file)
    try handle.truncate(atOffset: UInt64(8 + header.count + end))
    try handle.close()
  }
}
