internal import ByteIO
internal import Tensors

/// The header as its JSON spells it: types and spelling are checked, offsets and sizes are not yet.
struct HeaderTable {
  private(set) var tensors: [HeaderTensor] = []
  private(set) var metadata = SafetensorsMetadata()

  /// - Parameter base: offset of `json` in the file.
  init(json: RawSpan, base: UInt64) throws(ParseFailure) {
    var seen: Set<UTF8Key> = []
    var tensors: [HeaderTensor] = []
    var metadata: SafetensorsMetadata?
    let rules = JSONRules(maximumDepth: SafetensorsLimits.nesting, numbersMustBeFinite: true)
    var parser = JSONParser(json, base: base, rules: rules)
    guard try parser.kind() == .object else {
      throw ParseFailure("the header is no JSON object", offset: parser.offset)
    }
    try parser.readObject { (name, offset, parser) throws(ParseFailure) in
      if name.utf8.elementsEqual("__metadata__".utf8) {
        guard metadata == nil else { throw ParseFailure("__metadata__ appears twice", offset: offset) }
        metadata = try Self.metadata(&parser)
      } else {
        guard seen.insert(UTF8Key(name)).inserted else {
          throw ParseFailure(
            "the tensor is listed twice, which leaves open which of the two is meant", item: name, offset: offset,
            advice: "write the file again with its producer")
        }
        do throws(ParseFailure) {
          tensors.append(try HeaderTensor(name: name, nameOffset: offset, parser: &parser))
        } catch {
          var failure = error
          failure.item = failure.item ?? name
          throw failure
        }
      }
    }
    try parser.end()
    self.tensors = tensors
    self.metadata = metadata ?? SafetensorsMetadata()
  }

  /// A map of strings, or null. The last of equal keys wins, as in the reference.
  private static func metadata(_ parser: inout JSONParser) throws(ParseFailure) -> SafetensorsMetadata {
    switch try parser.kind() {
    case .null:
      try parser.skipValue()
      return SafetensorsMetadata()
    case .object: break
    default: throw ParseFailure("__metadata__ is no map of strings", offset: parser.offset)
    }
    var entries: [(key: String, value: String)] = []
    var seen: [UTF8Key: Int] = [:]
    try parser.readObject { (key, _, parser) throws(ParseFailure) in
      guard try parser.kind() == .string else {
        throw ParseFailure("the value of \"\(key)\" in __metadata__ is no string", offset: parser.offset)
      }
      let value = try parser.string()
      if let earlier = seen[UTF8Key(key)] {
        entries[earlier].value = value
      } else {
        seen[UTF8Key(key)] = entries.count
        entries.append((key, value))
      }
    }
    return SafetensorsMetadata(distinct: entries)
  }
}

/// One tensor's entry as spelled.
struct HeaderTensor {
  let name: String
  let nameOffset: UInt64
  let elementType: ElementType
  let shape: Shape
  let begin: UInt64
  let end: UInt64

  init(name: String, nameOffset: UInt64, parser: inout JSONParser) throws(ParseFailure) {
    guard try parser.kind() == .object else {
      throw ParseFailure(
        "the entry is no JSON object with dtype, shape and data_offsets", offset: parser.offset)
    }
    var elementType: ElementType?
    var shape: [Int]?
    var offsets: [UInt64]?
    try parser.readObject { (field, offset, parser) throws(ParseFailure) in
      switch field {
      case "dtype" where elementType == nil: elementType = try Self.elementType(&parser)
      case "shape" where shape == nil: shape = try Self.shape(&parser)
      case "data_offsets" where offsets == nil: offsets = try Self.offsets(&parser)
      case "dtype", "shape", "data_offsets": throw ParseFailure("the field \(field) appears twice", offset: offset)
      default: try parser.skipValue()
      }
    }
    guard let elementType else { throw ParseFailure("the field dtype is missing", offset: nameOffset) }
    guard let shape else { throw ParseFailure("the field shape is missing", offset: nameOffset) }
    guard let offsets else { throw ParseFailure("the field data_offsets is missing", offset: nameOffset) }
    self.name = name
    self.nameOffset = nameOffset
    self.elementType = elementType
    self.shape = Shape(shape)
    (begin, end) = (offsets[0], offsets[1])
  }

  private static func elementType(_ parser: inout JSONParser) throws(ParseFailure) -> ElementType {
    guard try parser.kind() == .string else { throw ParseFailure("dtype is no string", offset: parser.offset) }
    let offset = parser.offset
    let name = try parser.string()
    guard let type = ElementType(rawValue: name) else {
      throw ParseFailure(
        "unknown dtype \"\(name)\"", offset: offset,
        advice: "known are \(ElementType.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    return type
  }

  private static func shape(_ parser: inout JSONParser) throws(ParseFailure) -> [Int] {
    guard try parser.kind() == .array else { throw ParseFailure("shape is no array", offset: parser.offset) }
    var shape: [Int] = []
    try parser.readArray { (parser) throws(ParseFailure) in
      let offset = parser.offset
      let extent = try Self.integer(&parser, of: "shape")
      guard let extent = Int(exactly: extent) else {
        throw ParseFailure("the extent \(extent) is above \(Int.max)", offset: offset)
      }
      shape.append(extent)
    }
    return shape
  }

  private static func offsets(_ parser: inout JSONParser) throws(ParseFailure) -> [UInt64] {
    guard try parser.kind() == .array else { throw ParseFailure("data_offsets is no array", offset: parser.offset) }
    let start = parser.offset
    var offsets: [UInt64] = []
    try parser.readArray { (parser) throws(ParseFailure) in
      guard offsets.count < 2 else { throw ParseFailure("data_offsets has more than two elements", offset: start) }
      offsets.append(try Self.integer(&parser, of: "data_offsets"))
    }
    guard offsets.count == 2 else {
      throw ParseFailure("data_offsets has \(offsets.count) elements, two are expected", offset: start)
    }
    return offsets
  }

  /// An integer spelled with digits alone: neither `4.0` nor `1e0` nor `-0`.
  private static func integer(_ parser: inout JSONParser, of field: String) throws(ParseFailure) -> UInt64 {
    let offset = parser.offset
    guard try parser.kind() == .number else {
      throw ParseFailure("an element of \(field) is no number", offset: offset)
    }
    let number = try parser.number()
    guard !number.text.utf8.contains(UInt8(ascii: "-")), let value = number.unsigned else {
      throw ParseFailure("\(number.text) in \(field) is no integer from 0 to \(UInt64.max)", offset: offset)
    }
    return value
  }

  /// The entry once its range follows the previous one's without a gap and has the size that shape and type give.
  func validated(after previousEnd: UInt64) throws(ParseFailure) -> SafetensorsEntry {
    guard begin == previousEnd, end >= begin else {
      let fault =
        end < begin
        ? "the range ends before it begins"
        : begin > previousEnd ? "bytes that belong to no tensor lie before it" : "it overlaps the tensor before it"
      throw ParseFailure(
        "data_offsets are [\(begin), \(end)], the tensors before end at \(previousEnd): \(fault)", item: name,
        offset: nameOffset)
    }
    do throws(ParseFailure) {
      let expected = try shape.byteCount(of: elementType)
      guard UInt64(expected) == end - begin else {
        throw ParseFailure(
          "shape \(shape) in \(elementType) takes \(expected) bytes, data_offsets [\(begin), \(end)] give \(end - begin)"
        )
      }
      let info = TensorInfo(name: name, elementType: elementType, shape: shape, byteCount: expected)
      return SafetensorsEntry(info: info, dataRange: begin..<end)
    } catch {
      var failure = error
      (failure.item, failure.offset) = (name, nameOffset)
      throw failure
    }
  }
}
