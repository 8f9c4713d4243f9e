public import ByteIO
public import Tensors

/// ggml's numbers for element types.
public enum GGMLType {
  private static let types: [(id: UInt32, type: ElementType)] = [
    (0, .f32), (1, .f16), (2, .block(.q4_0)), (3, .block(.q4_1)), (6, .block(.q5_0)), (7, .block(.q5_1)),
    (8, .block(.q8_0)), (9, .block(.q8_1)), (10, .block(.q2_k)), (11, .block(.q3_k)), (12, .block(.q4_k)),
    (13, .block(.q5_k)), (14, .block(.q6_k)), (15, .block(.q8_k)), (16, .block(.iq2_xxs)), (17, .block(.iq2_xs)),
    (18, .block(.iq3_xxs)), (19, .block(.iq1_s)), (20, .block(.iq4_nl)), (21, .block(.iq3_s)), (22, .block(.iq2_s)),
    (23, .block(.iq4_xs)), (24, .i8), (25, .i16), (26, .i32), (27, .i64), (28, .f64), (29, .block(.iq1_m)),
    (30, .bf16), (34, .block(.tq1_0)), (35, .block(.tq2_0)), (39, .block(.mxfp4)), (40, .block(.nvfp4)),
    (41, .block(.q1_0)), (42, .block(.q2_0)),
  ]
  /// The largest number that llama.cpp knows.
  static let largestID: UInt32 = 42
  /// Numbers of types that ggml once had: `Q4_2`, `Q4_3`, and repacked forms of `Q4_0` and `IQ4_NL`.
  private static let removed: Set<UInt32> = [4, 5, 31, 32, 33, 36, 37, 38]
  private static let byID = Dictionary(uniqueKeysWithValues: types.map { ($0.id, $0.type) })
  private static let byType = Dictionary(uniqueKeysWithValues: types.map { ($0.type, $0.id) })

  /// All types that a file can have, by their numbers.
  public static var allTypes: [ElementType] { types.map(\.type) }

  /// The number of an element type; nil for types that ggml does not have, FP8 among them.
  public static func id(of type: ElementType) -> UInt32? { byType[type] }

  /// - Throws: `ParseFailure` for numbers of removed types and for those that ggml never gave out.
  public static func elementType(id: UInt32) throws(ParseFailure) -> ElementType {
    if let type = byID[id] { return type }
    if removed.contains(id) {
      throw ParseFailure(
        "the element type has the number \(id), which ggml no longer uses",
        advice: "the file is from 2024 or before, or from a fork that gave the number a new meaning; "
          + "quantize the original model again")
    }
    throw ParseFailure(
      "the element type has the number \(id), the largest known is \(largestID)",
      advice: "the file may come from a fork of llama.cpp with types of its own (ik_llama.cpp has them from 133 up), "
        + "or from a later version")
  }
}
