import Llama

/// Inverse frequencies computed by transformers 5.23.0 with torch 2.13.0 on a CPU, as binary32 bit patterns: the scaled
/// ones by `ROPE_INIT_FUNCTIONS["llama3"]` and `["linear"]`, the others `LlamaRotaryEmbedding(config).inv_freq`, for
/// `LlamaConfig(hidden_size, num_attention_heads, rope_parameters)` of the model named.
struct ReferenceFrequencies: Sendable, CustomStringConvertible {
  let description: String
  let headDimension: Int
  let parameters: RoPEParameters
  let patterns: [UInt32]

  static let all = [
    ReferenceFrequencies(
      description: "Llama 2: D 128, base 10,000", headDimension: 128,
      parameters: RoPEParameters(base: 10_000),
      patterns: [
        0x3F800000, 0x3F5DAFD7, 0x3F3FF911, 0x3F263DE0, 0x3F0FF59A, 0x3EF953CF, 0x3ED7E89B, 0x3EBAF81B,
        0x3EA1E89B, 0x3E8C3504, 0x3E72D423, 0x3E5247ED, 0x3E361887, 0x3E1DB040, 0x3E088D77, 0x3DEC7FD6,
        0x3DCCCCCD, 0x3DB15978, 0x3D99940D, 0x3D84FE4D, 0x3D6655C2, 0x3D47763F, 0x3D2CBA15, 0x3D159348,
        0x3D0186E3, 0x3CE054D2, 0x3CC2434F, 0x3CA8398B, 0x3C91AD39, 0x3C7C4D33, 0x3C5A7BF2, 0x3C3D3311,
        0x3C23D70A, 0x3C0DE12D, 0x3BF5B9B0, 0x3BD4CA15, 0x3BB8449C, 0x3B9F91CC, 0x3B8A2E77, 0x3B6F520E,
        0x3B4F3E38, 0x3B33770F, 0x3B1B690D, 0x3B06946F, 0x3AE91528, 0x3AC9D75C, 0x3AAEC98E, 0x3A975C0E,
        0x3A83126F, 0x3A6301E2, 0x3A44948C, 0x3A2A3B44, 0x3A136A16, 0x39FF4FAC, 0x39DD1725, 0x39BF74D7,
        0x39A5CB60, 0x398F9272, 0x3978A815, 0x395753E4, 0x393A7753, 0x39217916, 0x390BD472, 0x38F22CE2,
      ]),
    ReferenceFrequencies(
      description: "Code Llama: D 128, base 1,000,000", headDimension: 128,
      parameters: RoPEParameters(base: 1_000_000),
      patterns: [
        0x3F800000, 0x3F4E4BAD, 0x3F263DE0, 0x3F05F6EF, 0x3ED7E89B, 0x3EADFCFF, 0x3E8C3504, 0x3E61F835,
        0x3E361887, 0x3E12BD91, 0x3DEC7FD6, 0x3DBE94C6, 0x3D99940D, 0x3D778513, 0x3D47763F, 0x3D20BC1D,
        0x3D0186E3, 0x3CD0C1A8, 0x3CA8398B, 0x3C879008, 0x3C5A7BF2, 0x3C301052, 0x3C0DE12D, 0x3BE4AA46,
        0x3BB8449C, 0x3B947DAE, 0x3B6F520E, 0x3B40DAC5, 0x3B1B690D, 0x3AFA78F0, 0x3AC9D75C, 0x3AA2A6F7,
        0x3A83126F, 0x3A533F28, 0x3A2A3B44, 0x3A092E02, 0x39DD1725, 0x39B229FB, 0x398F9272, 0x39676492,
        0x393A7753, 0x39164324, 0x38F22CE2, 0x38C327B5, 0x389D43A4, 0x387D75D4, 0x384C3FBE, 0x382497AB,
        0x3804A2B2, 0x37D5C441, 0x37AC431D, 0x378AD0ED, 0x375FBA4F, 0x37344A0E, 0x371148E3, 0x36EA2732,
        0x36BCB0C1, 0x36980E02, 0x36751070, 0x36457BAB, 0x361F23E4, 0x36003DEC, 0x35CEAF79, 0x35A68E4C,
      ]),
    ReferenceFrequencies(
      description: "Llama 3.1: D 128, base 500,000, factor 8", headDimension: 128,
      parameters: RoPEParameters(
        base: 500_000,
        scaling: .llama3(factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalPositions: 8192)),
      patterns: [
        0x3F800000, 0x3F508AC1, 0x3F29E1C6, 0x3F0A6384, 0x3EE177BC, 0x3EB7AB7D, 0x3E959EE3, 0x3E73C461,
        0x3E4693B0, 0x3E21C3A0, 0x3E03C6A0, 0x3DD6B19C, 0x3DAEE4AD, 0x3D8E7898, 0x3D681E67, 0x3D3D1684,
        0x3D1A08C8, 0x3CFAF53F, 0x3CCC6F49, 0x3CA68939, 0x3C87A9C3, 0x3C5D06EC, 0x3C340D6D, 0x3C12AC7F,
        0x3BEEF74F, 0x3BC2AA76, 0x3B9E9402, 0x3B812E35, 0x3B527720, 0x3B0DFD06, 0x3AB3D11D, 0x3A60979E,
        0x3A0995D2, 0x39A3F108, 0x393B2DD2, 0x38C86886, 0x38A3418D, 0x3884FDBF, 0x3858AC81, 0x38308199,
        0x380FC8F8, 0x37EA426F, 0x37BED4F4, 0x379B7475, 0x377D45C3, 0x374E51F5, 0x3728126B, 0x3708EA0F,
        0x36DF10C4, 0x36B5B687, 0x369406CB, 0x36712B80, 0x36447610, 0x36200A69, 0x36025F34, 0x35D46808,
        0x35AD07A7, 0x358CF400, 0x3565A54D, 0x353B12C7, 0x351864A7, 0x34F848C2, 0x34CA41B0, 0x34A4C2FF,
      ]),
    ReferenceFrequencies(
      description: "Llama 3.2 1B: D 64, base 500,000, factor 32", headDimension: 64,
      parameters: RoPEParameters(
        base: 500_000,
        scaling: .llama3(factor: 32, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalPositions: 8192)),
      patterns: [
        0x3F800000, 0x3F29E1C6, 0x3EE177BC, 0x3E959EE3, 0x3E4693B0, 0x3E03C6A0, 0x3DAEE4AD, 0x3D681E67,
        0x3D1A08C8, 0x3CCC6F49, 0x3C87A9C3, 0x3C340D6D, 0x3BEEF74F, 0x3B9E9402, 0x3B527720, 0x3AA9279B,
        0x39E13620, 0x38CB98F7, 0x37A3418D, 0x3758AC81, 0x370FC8F8, 0x36BED4F4, 0x367D45C3, 0x3628126B,
        0x35DF10C4, 0x359406CB, 0x35447610, 0x35025F34, 0x34AD07A7, 0x3465A54D, 0x341864A7, 0x33CA41B0,
      ]),
    ReferenceFrequencies(
      description: "linear, factor 4: D 16, base 10,000", headDimension: 16,
      parameters: RoPEParameters(base: 10_000, scaling: .linear(factor: 4)),
      patterns: [
        0x3E800000, 0x3DA1E89B, 0x3CCCCCCD, 0x3C0186E3, 0x3B23D70A, 0x3A4F3E38, 0x3983126F, 0x38A5CB60,
      ]),
  ]
}
